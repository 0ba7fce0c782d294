package api

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

// Guarantee A6, in part: whatever a body holds and says that it is, it is stored whole and answered with a receipt, or
// nothing of it is stored and it is refused as the client's own mistake; and the memory for it comes back.
func FuzzBody(f *testing.F) {
	for _, s := range []struct{ contentType, encoding, body string }{
		{"text/plain", "", "hello"}, {"application/x-ndjson", "", "1\n\n{}\r\n"}, {"application/jsonl", "gzip", "\x1f\x8b"},
		{"application/vnd.holdfast.items+ndjson", "", `{"body":1,"id":"a","ttl":"1s"}` + "\n" + `{"body_base64":"AA=="}`},
		{"application/cloudevents+json", "", fullEvent}, {"application/cloudevents-batch+json", "", "[" + fullEvent + "]"},
		{"application/cloudevents-batch+json", "", "[]"}, {"application/x-ndjson", "zstd", "\x28\xb5\x2f\xfd\x00\x58\x01\x00\x00"},
	} {
		f.Add(s.contentType, s.encoding, []byte(s.body))
	}
	f.Fuzz(func(t *testing.T, contentType, encoding string, body []byte) {
		q := &fakeQueue{}
		s, err := New(q, Options{MaxItemBytes: 1 << 10, MaxRequestBytes: 8 << 10, MaxRequestItems: 50})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "/v1/items", bytes.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		if encoding != "" {
			r.Header.Set("Content-Encoding", encoding)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		switch {
		case w.Code == http.StatusAccepted:
		case w.Code < 400 || w.Code > 499:
			t.Fatalf("%d %s", w.Code, w.Body)
		case len(q.items) > 0:
			t.Fatalf("%d, and %d items are stored", w.Code, len(q.items))
		}
		for i := range q.items {
			if len(q.items[i].Body) > 1<<10 {
				t.Fatalf("item %d has %d bytes", i, len(q.items[i].Body))
			}
		}
		if s.bodies.free != s.o.MaxBodies {
			t.Fatalf("%d bytes of %d are free", s.bodies.free, s.o.MaxBodies)
		}
	})
}

// FuzzExpand: what undoes an encoding never gives more than its limit, nor takes more memory than it says.
func FuzzExpand(f *testing.F) {
	f.Add(true, []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\xcbH\xcd\xc9\xc9\x07\x00\x86\xa6\x106\x05\x00\x00\x00"))
	f.Add(false, []byte("\x28\xb5\x2f\xfd\x04\x00\x29\x00\x00hello\x6d\x3f\x64\x1f"))
	f.Fuzz(func(t *testing.T, gz bool, body []byte) {
		const limit = 64 << 10
		e := zstandard
		if gz {
			e = gzipped
		}
		p := &pool{free: 3*limit + e.expanderBytes() + int64(len(body))*8}
		before := p.free
		h := &share{pool: p, ctx: context.Background(), wait: 1}
		if err := h.take(int64(cap(body))); err != nil {
			return
		}
		got, err := expandBody(body, e, limit, h)
		if len(got) > limit {
			t.Fatalf("%d bytes", len(got))
		}
		_, long := errors.AsType[*http.MaxBytesError](err)
		_, corrupt := errors.AsType[*corruptError](err)
		_, hungry := errors.AsType[*Problem](err)
		if err != nil && !long && !corrupt && !hungry {
			t.Fatal(err)
		}
		h.release()
		if p.free != before {
			t.Fatalf("%d of %d are free", p.free, before)
		}
	})
}
