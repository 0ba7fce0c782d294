package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"holdfast/cmd/holdfast/internal/source/ndjson"
	"holdfast/queue"
	"holdfast/store"
)

// items are a body's, in order.
type items struct {
	items []queue.Item
	lines []int // where each stands; nil: the body is one item
}

// readItems reads a whole request. Nothing of it is stored yet.
func (s *Server) readItems(w http.ResponseWriter, r *http.Request) (head, items, error) {
	d, err := parseHead(r.Header)
	if err != nil {
		return d, items{}, err
	}
	limit, what := s.o.MaxRequestBytes, "a request"
	if d.format == single {
		limit, what = s.o.MaxItemBytes, "an item"
	}
	if err := s.expected(r, limit, what); err != nil {
		return d, items{}, err
	}
	body, err := s.readBody(w, r, limit)
	if err != nil {
		return d, items{}, unread(err, what)
	}
	if len(body) == 0 {
		return d, items{}, &Problem{Code: Malformed, Detail: "the body is empty"}
	}
	if d.format == single {
		d.attrs["content-type"] = d.contentType
		return d, items{items: []queue.Item{{Attrs: store.MakeAttrs(d.attrs), Key: d.key, IdempotencyKey: d.idempotency, Body: body}}}, nil
	}
	in, err := s.cut(&d, body)
	return d, in, err
}

// expected refuses a body before it is read: one that says that it is too long, and for a client that asks first, any
// while nothing can be accepted.
func (s *Server) expected(r *http.Request, limit int64, what string) error {
	if r.ContentLength > limit {
		return tooLarge(0, what, limit)
	}
	if !strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		return nil
	}
	if p := s.notReady(); p != nil {
		return p
	}
	return nil
}

// readBody reads a body of at most limit bytes, which must arrive within Options.BodyTimeout. It takes memory for what
// came, not for what was announced.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	within(s.o.BodyTimeout, http.NewResponseController(w).SetReadDeadline) // net/http lifts it at the body's end
	var b bytes.Buffer
	b.Grow(int(min(max(r.ContentLength, 0)+bytes.MinRead, 64<<10)))
	if t, ok := w.(*tracked); ok {
		w = t.ResponseWriter // MaxBytesReader asks net/http's own to close the connection
	}
	if _, err := b.ReadFrom(http.MaxBytesReader(w, r.Body, limit)); err != nil {
		return nil, err
	}
	w.Header().Del("Connection") // the body has ended: see ServeHTTP
	return b.Bytes(), nil
}

// cut makes items of a body's lines.
func (s *Server) cut(d *head, body []byte) (items, error) {
	var in items
	limit := s.lineLimit(d)
	mk := newMaker(d, s.o.MaxItemBytes)
	for r := ndjson.NewReader(bytes.NewReader(body), limit); ; {
		text, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return in, unread(err, "")
		}
		if len(in.items) == s.o.MaxRequestItems {
			return in, located(TooLarge, r.Line(), "", fmt.Sprintf("a request may have %d items", s.o.MaxRequestItems))
		}
		it, err := mk.item(text, r.Line())
		if err != nil {
			return in, err
		}
		in.items, in.lines = append(in.items, it), append(in.lines, r.Line())
	}
	if len(in.items) == 0 {
		return in, &Problem{Code: Malformed, Detail: "the body has only empty lines"}
	}
	return in, nil
}

// lineLimit bounds a line: an item's bytes, and for an envelope room for what is around them and for their encoding.
func (s *Server) lineLimit(d *head) int {
	if d.format == envelopes {
		return int(2*s.o.MaxItemBytes + 64<<10)
	}
	return int(s.o.MaxItemBytes)
}

// A maker makes items of lines, by what the request's head says. One goroutine uses it.
type maker struct {
	head  *head
	limit int64       // of a body
	json  store.Attrs // of a plain line that parses
	text  store.Attrs // of one that does not
}

func newMaker(d *head, limit int64) *maker {
	m := &maker{head: d, limit: limit}
	if d.format != envelopes {
		m.json, m.text = attrsWith(d.attrs, "application/json"), attrsWith(d.attrs, "text/plain")
	}
	return m
}

func attrsWith(attrs map[string]string, contentType string) store.Attrs {
	set := map[string]string{"content-type": contentType}
	for name, v := range attrs {
		set[name] = v
	}
	return store.MakeAttrs(set)
}

// item may share the memory of text, and the attributes of other items.
func (m *maker) item(text []byte, line int) (queue.Item, error) {
	if m.head.format != envelopes {
		it := queue.Item{Attrs: m.text, Key: m.head.key, Body: text}
		if ndjson.ContentType(text) == "application/json" {
			it.Attrs = m.json
		}
		return it, nil
	}
	it, err := decodeEnvelope(text, line, m.head)
	if err == nil && int64(len(it.Body)) > m.limit {
		return it, tooLarge(line, "an item", m.limit)
	}
	return it, err
}
