package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
)

// envelopeRoom is what an envelope or a CloudEvent may have around an item, beside a body that is twice as long for its
// encoding.
const envelopeRoom = 64 << 10

// bodyLimit bounds a request's whole body, expanded, and says what it is.
func (s *Server) bodyLimit(d *head) (limit int64, what string) {
	switch d.format {
	case single, event:
		limit, what = s.o.MaxItemBytes, "item"
	case structured:
		limit, what = s.eventLimit(), "event"
	default:
		limit, what = s.o.MaxRequestBytes, "request"
	}
	switch {
	case d.encoding != identity:
		return limit, "an expanded " + what
	case what == "request":
		return limit, "a request"
	}
	return limit, "an " + what
}

// eventLimit bounds what holds one item and its attributes.
func (s *Server) eventLimit() int64 { return 2*s.o.MaxItemBytes + envelopeRoom }

// sent is how long a body may be that has limit bytes when it is expanded: what cannot be compressed grows a little.
func (e encoding) sent(limit int64) int64 {
	if e == identity {
		return limit
	}
	return limit + limit>>10 + 1<<10
}

// expected refuses a body before it is read: one that says that it is too long, and for a client that asks first, any
// while nothing can be accepted.
func (s *Server) expected(r *http.Request, e encoding, limit int64, what string) error {
	if r.ContentLength > e.sent(limit) {
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

// share is a request's share of the memory for bodies, of which it has nothing yet.
func (s *Server) share(ctx context.Context) *share {
	return &share{pool: s.bodies, ctx: ctx, wait: s.o.BlockTimeout}
}

// readBody reads a body of at most limit bytes, which must arrive within Options.BodyTimeout. It takes memory for what
// came, not for what was announced, and its share of the memory for all bodies with it.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, limit int64, h *share) ([]byte, error) {
	within(s.o.BodyTimeout, http.NewResponseController(w).SetReadDeadline) // net/http lifts it at the body's end
	if t, ok := w.(*tracked); ok {
		w = t.ResponseWriter // MaxBytesReader asks net/http's own to close the connection
	}
	first := int64(firstBuffer)
	if r.ContentLength >= 0 {
		first = min(r.ContentLength+1, 64<<10) // one more, to see the end
	}
	body, err := fill(http.MaxBytesReader(w, r.Body, limit), first, limit, h)
	if err == nil {
		w.Header().Del("Connection") // the body has ended: see ServeHTTP
	}
	return body, err
}

// expandBody undoes a body's encoding, which has come whole: nobody can make it wait. The expanded body may have limit
// bytes; of a longer one no more than that is in memory.
func expandBody(body []byte, e encoding, limit int64, h *share) ([]byte, error) {
	if e == identity {
		return body, nil
	}
	if err := h.take(e.expanderBytes()); err != nil {
		return nil, err
	}
	defer h.give(e.expanderBytes())
	x := newExpander(e, bytes.NewReader(body))
	defer x.Close()
	defer h.give(int64(cap(body)))
	return fill(x, max(firstBuffer, int64(4*len(body))), limit, h)
}

// firstBuffer is where a body begins whose length nobody knows.
const firstBuffer = 4 << 10

// fill reads src to its end, into memory that begins with first bytes and doubles. Errors: *http.MaxBytesError with more
// than limit bytes; a *Problem for want of memory; the source's own.
func fill(src io.Reader, first, limit int64, h *share) ([]byte, error) {
	size := min(first, limit+1)
	if err := h.take(size); err != nil {
		return nil, err
	}
	buf := make([]byte, 0, size)
	for {
		if len(buf) == cap(buf) {
			size = min(2*size, limit+1)
			if err := h.take(size); err != nil {
				return nil, err
			}
			next := append(make([]byte, 0, size), buf...)
			h.give(int64(cap(buf)))
			buf = next
		}
		n, err := src.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > limit:
			return nil, &http.MaxBytesError{Limit: limit}
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return nil, err
		}
	}
}
