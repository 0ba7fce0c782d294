package api

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"sync/atomic"

	"holdfast/cmd/holdfast/internal/source/cloudevents"
	"holdfast/cmd/holdfast/internal/source/ndjson"
	"holdfast/queue"
	"holdfast/store"
)

// items are a body's, in order.
type items struct {
	items  []queue.Item
	lines  []int // where each stands; nil: the body has no lines
	listed bool  // they are the elements of a list
}

// readItems reads a whole request. Nothing of it is stored yet. Its memory is h's.
func (s *Server) readItems(w http.ResponseWriter, r *http.Request, h *share) (head, items, error) {
	d, err := parseHead(r.Header)
	if err != nil {
		return d, items{}, err
	}
	limit, what := s.bodyLimit(&d)
	if err := s.expected(r, d.encoding, limit, what); err != nil {
		return d, items{}, err
	}
	body, err := s.readBody(w, r, d.encoding.sent(limit), h)
	if err == nil {
		body, err = expandBody(body, d.encoding, limit, h)
	}
	if err != nil {
		return d, items{}, unread(err, what, limit)
	}
	if len(body) == 0 && d.format != event {
		return d, items{}, &Problem{Code: Malformed, Detail: "the body is empty"}
	}
	in, err := s.itemsOf(&d, r.Header, body)
	return d, in, err
}

// itemsOf makes items of a body.
func (s *Server) itemsOf(d *head, h http.Header, body []byte) (items, error) {
	switch d.format {
	case single:
		it := queue.Item{Attrs: attrsWith(d.attrs, d.contentType), Key: d.key, IdempotencyKey: d.idempotency, TTL: d.ttl, NotBefore: d.notBefore, Body: body}
		return items{items: []queue.Item{it}}, nil
	case event:
		e, err := cloudevents.FromHeaders(h)
		if e.Data = body; len(body) > 0 || len(h["Content-Type"]) > 0 {
			e.ContentType = d.contentType
		}
		return s.only(d, e, err)
	case structured:
		e, err := cloudevents.Parse(body)
		return s.only(d, e, err)
	case batch:
		return s.cutBatch(d, body)
	}
	return s.cutLines(d, body)
}

// only makes the item of a request that is one event.
func (s *Server) only(d *head, e cloudevents.Event, err error) (items, error) {
	if err != nil {
		return items{}, refusedEvent(err)
	}
	it, err := s.itemOf(d, e, items{}.field(0, ""))
	return items{items: []queue.Item{it}}, err
}

// itemOf makes an item of an event. What the event does not say, the request's headers do; but for the idempotency key,
// of which the header comes first.
func (s *Server) itemOf(d *head, e cloudevents.Event, field string) (queue.Item, error) {
	if int64(len(e.Data)) > s.o.MaxItemBytes {
		return queue.Item{}, located(TooLarge, 0, field, fmt.Sprintf("an item may have %d bytes", s.o.MaxItemBytes))
	}
	attrs := maps.Clone(d.attrs)
	maps.Copy(attrs, e.Attrs)
	if e.ContentType != "" {
		attrs["content-type"] = e.ContentType
	}
	return queue.Item{
		Attrs: store.MakeAttrs(attrs), Key: cmp.Or(e.Key, d.key), TTL: d.ttl, NotBefore: d.notBefore,
		IdempotencyKey: cmp.Or(d.idempotency, e.IdempotencyKey()), Body: e.Data,
	}, nil
}

// refusedEvent is the problem of an event that breaks the rules.
func refusedEvent(err error) error {
	if e, ok := errors.AsType[*cloudevents.FieldError](err); ok {
		return invalid(0, items{listed: e.Index >= 0}.field(e.Index, e.Field), "%s", e.Reason)
	}
	return err
}

// field is how a field of an item is named in a problem: in a list with the item's index.
func (in items) field(i int, name string) string {
	switch {
	case !in.listed || i < 0:
		return name
	case name == "":
		return "[" + strconv.Itoa(i) + "]"
	}
	return "[" + strconv.Itoa(i) + "]." + name
}

// line is where an item stands, 0 for one that is in no line.
func (in items) line(i int) int {
	if i < 0 || i >= len(in.lines) {
		return 0
	}
	return in.lines[i]
}

// cutBatch makes items of a list of CloudEvents. It may be empty.
func (s *Server) cutBatch(d *head, body []byte) (items, error) {
	in := items{listed: true}
	err := cloudevents.ParseBatch(body, func(i int, e cloudevents.Event) error {
		if i == s.o.MaxRequestItems {
			return located(TooLarge, 0, in.field(i, ""), fmt.Sprintf("a request may have %d items", s.o.MaxRequestItems))
		}
		it, err := s.itemOf(d, e, in.field(i, ""))
		in.items = append(in.items, it)
		return err
	})
	return in, refusedEvent(err)
}

// cutLines makes items of a body's lines.
func (s *Server) cutLines(d *head, body []byte) (items, error) {
	var in items
	limit := s.lineLimit(d)
	mk := newMaker(d, s.o.MaxItemBytes)
	for r := ndjson.NewReader(bytes.NewReader(body), limit); ; {
		text, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return in, unread(err, "", 0)
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
		return int(s.eventLimit())
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
		m.json, m.text = makeAttrs(d.attrs, "application/json"), makeAttrs(d.attrs, "text/plain")
	}
	return m
}

// A typeAttrs is a content type, and the attributes of an item that has nothing else.
type typeAttrs struct {
	contentType string
	attrs       store.Attrs
}

// lastType is what attrsWith made last of a content type alone: most items are like the one before.
var lastType atomic.Pointer[typeAttrs]

func attrsWith(attrs map[string]string, contentType string) store.Attrs {
	if len(attrs) > 0 {
		return makeAttrs(attrs, contentType)
	}
	last := lastType.Load()
	if last == nil || last.contentType != contentType {
		last = &typeAttrs{contentType, makeAttrs(nil, contentType)}
		lastType.Store(last)
	}
	return last.attrs
}

func makeAttrs(attrs map[string]string, contentType string) store.Attrs {
	set := map[string]string{"content-type": contentType}
	for name, v := range attrs {
		set[name] = v
	}
	return store.MakeAttrs(set)
}

// item may share the memory of text, and the attributes of other items.
func (m *maker) item(text []byte, line int) (queue.Item, error) {
	if m.head.format != envelopes {
		it := queue.Item{Attrs: m.text, Key: m.head.key, TTL: m.head.ttl, NotBefore: m.head.notBefore, Body: text}
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
