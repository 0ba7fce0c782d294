package api

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

// A flusher is a compressor that can be made to send what it has.
type flusher interface {
	io.WriteCloser
	Flush() error
}

func compressor(t *testing.T, enc string, w io.Writer) flusher {
	t.Helper()
	if enc == "gzip" {
		return gzip.NewWriter(w)
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func compressed(t *testing.T, enc, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := compressor(t, enc, &b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestEncodedBodiesAreTheSameItems(t *testing.T) {
	noise := strings.Repeat("0123456789abcdef\x00\xff", 1000)
	for _, enc := range []string{"gzip", "zstd"} {
		q := &fakeQueue{}
		ts, s := serve(t, q, Options{})
		for _, name := range []string{enc, strings.ToUpper(enc), "identity, " + enc} {
			if a := call(t, ts, "POST", "/v1/items", compressed(t, enc, noise), "Content-Encoding", name); a.StatusCode != 202 {
				t.Fatalf("%s: %s", name, a.body)
			}
		}
		// Members and frames may follow each other.
		call(t, ts, "POST", "/v1/items", compressed(t, enc, "a\nb")+compressed(t, enc, "c\nd\n"), "Content-Encoding", enc, "Content-Type", ndjsonType)
		call(t, ts, "POST", "/v1/items", compressed(t, enc, fullEvent), "Content-Encoding", enc, "Content-Type", eventType)
		want := []string{noise, noise, noise, "a", "bc", "d", `{"a" : 1}`}
		if len(q.items) != len(want) {
			t.Fatalf("%d items", len(q.items))
		}
		for i := range want {
			if string(q.items[i].Body) != want[i] {
				t.Errorf("%s: item %d is %q", enc, i, q.items[i].Body)
			}
		}
		if s.bodies.free != s.o.MaxBodies {
			t.Errorf("%d bytes of %d are free", s.bodies.free, s.o.MaxBodies)
		}
	}
	q := &fakeQueue{}
	ts, _ := serve(t, q, Options{})
	if a := call(t, ts, "POST", "/v1/items", compressed(t, "gzip", "x"), "Content-Encoding", "x-gzip"); a.StatusCode != 202 || string(q.items[0].Body) != "x" {
		t.Errorf("%s", a.body)
	}
}

// Guarantee A6, in part: limits are of the expanded body, and what is broken stores nothing.
func TestEncodedBodiesAreRefusedByTheirExpandedSize(t *testing.T) {
	o := Options{MaxItemBytes: 1000, MaxRequestBytes: 5000}
	for _, enc := range []string{"gzip", "zstd"} {
		whole := compressed(t, enc, strings.Repeat("x", 1000))
		lines := compressed(t, enc, strings.Repeat("xxxxxxx\n", 1000))
		for name, c := range map[string]struct {
			body, contentType string
			status            int
			detail            string
		}{
			"fits":             {whole, "text/plain", 202, ""},
			"one too many":     {compressed(t, enc, strings.Repeat("x", 1001)), "text/plain", 413, "an expanded item may have 1000 bytes"},
			"event":            {compressed(t, enc, strings.Repeat(" ", 70_000)), eventType, 413, "an expanded event may have 67536 bytes"},
			"request":          {lines, ndjsonType, 413, "an expanded request may have 5000 bytes"},
			"long without use": {strings.Repeat("x", 4000), "text/plain", 413, "1000 bytes"},
			"half":             {whole[:len(whole)/2], "text/plain", 400, enc},
			"nothing":          {"", "text/plain", 400, "empty"},
			"nothing encoded":  {compressed(t, enc, ""), "text/plain", 400, "empty"},
			"with a tail":      {whole + "tail of no use at all", "text/plain", 400, enc},
			"wrong sum":        {whole[:len(whole)-2] + "xx", "text/plain", 400, enc},
			"other":            {compressed(t, map[string]string{"gzip": "zstd", "zstd": "gzip"}[enc], "x"), "text/plain", 400, enc},
		} {
			t.Run(enc+" "+name, func(t *testing.T) {
				q := &fakeQueue{}
				ts, s := serve(t, q, o)
				a := call(t, ts, "POST", "/v1/items", c.body, "Content-Encoding", enc, "Content-Type", c.contentType)
				if a.StatusCode != c.status || c.status != 202 && (!strings.Contains(a.problem(t).Detail, c.detail) || len(q.items) > 0) {
					t.Errorf("%d %s, want %d %s", a.StatusCode, a.body, c.status, c.detail)
				}
				if s.bodies.free != s.o.MaxBodies {
					t.Errorf("%d bytes of %d are free", s.bodies.free, s.o.MaxBodies)
				}
			})
		}
	}
	ts, _ := serve(t, &fakeQueue{}, o)
	if a := call(t, ts, "POST", "/v1/items", "x", "Content-Encoding", "br"); a.Header.Get("Accept-Encoding") != "gzip, zstd" {
		t.Errorf("%v", a.Header)
	}
	if a := call(t, ts, "POST", "/v1/items", "x", "Content-Type", "application/cloudevents+xml"); a.StatusCode != 415 || a.Header.Get("Accept-Encoding") != "" {
		t.Errorf("%v", a.Header)
	}
}

// Guarantee A6, in part: a body that grows without bound when it is expanded takes no more memory than its limit.
func TestBombsTakeNoMoreMemoryThanTheirLimit(t *testing.T) {
	const size = 100 << 20
	for _, enc := range []string{"gzip", "zstd"} {
		var bomb bytes.Buffer
		w := compressor(t, enc, &bomb)
		if _, err := io.CopyN(w, zeros{}, size); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		s, err := New(&fakeQueue{}, Options{MaxItemBytes: 1 << 20, MaxRequestBytes: 2 << 20})
		if err != nil {
			t.Fatal(err)
		}
		req := httptest.NewRequest("POST", "http://localhost/v1/items", bytes.NewReader(bomb.Bytes()))
		req.Header.Set("Content-Encoding", enc)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, req)
		runtime.ReadMemStats(&after)
		if rec.Code != 413 {
			t.Errorf("%s: %d %s", enc, rec.Code, rec.Body)
		}
		if took := int64(after.TotalAlloc - before.TotalAlloc); took > s.o.oneBody() {
			t.Errorf("%s: a bomb of %d bytes took %d", enc, bomb.Len(), took)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestZstdMayNotLookBackFurtherThanAgreed(t *testing.T) {
	for size, status := range map[int]int{8 << 20: 202, 16 << 20: 413} {
		var b bytes.Buffer
		w, err := zstd.NewWriter(&b, zstd.WithWindowSize(size), zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // a frame whose size is not known in front
			if _, err := io.WriteString(w, "x"); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		ts, _ := serve(t, &fakeQueue{}, Options{})
		if a := call(t, ts, "POST", "/v1/items", b.String(), "Content-Encoding", "zstd"); a.StatusCode != status {
			t.Errorf("a window of %d: %d %s", size, a.StatusCode, a.body)
		}
	}
}

// Guarantee A1, in part: on an encoded stream, too, each line is answered before the next one is sent.
func TestEncodedStreamsAnswerEachLineThatIsFlushed(t *testing.T) {
	for _, enc := range []string{"gzip", "zstd"} {
		t.Run(enc, func(t *testing.T) {
			q := &fakeQueue{}
			ts, _ := serve(t, q, Options{})
			c := openStream(t, ts, "Content-Encoding", enc)
			w := compressor(t, enc, c.out)
			send := func(text string) {
				t.Helper()
				if _, err := io.WriteString(w, text); err != nil {
					t.Fatal(err)
				}
				if err := w.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			for n := 1; n <= 30; n++ {
				send("line\n")
				c.want(n, "")
			}
			send("no end")
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			_ = c.out.Close()
			c.want(31, "")
			c.wantEnd()
			if got := q.stored(); len(got) != 31 || string(got[30].Body) != "no end" {
				t.Errorf("%d items", len(got))
			}
		})
	}
}

// Guarantee A6, in part: a stream that breaks in its encoding says so, and stores no half of a line.
func TestEncodedStreamThatBreaksSaysSo(t *testing.T) {
	for _, enc := range []string{"gzip", "zstd"} {
		whole := compressed(t, enc, "a\nb\n")
		for name, c := range map[string]struct {
			body, code string
			stored     int
		}{
			"cut off": {whole + whole[:8], "malformed", 2}, "no such": {"a\nb\n", "malformed", 0}, "with a tail": {whole + "x\ny\n", "malformed", 2},
			"too long": {compressed(t, enc, "a\nb\n"+strings.Repeat("x", 101)), "too_large", 2},
		} {
			t.Run(enc+" "+name, func(t *testing.T) {
				q := &fakeQueue{}
				ts, _ := serve(t, q, Options{MaxItemBytes: 100})
				a := call(t, ts, "POST", "/v1/stream", c.body, "Content-Encoding", enc)
				answers := strings.Split(a.body, "\n")
				if a.StatusCode != 200 || len(answers) != c.stored+1 || len(q.stored()) != c.stored || !strings.Contains(answers[c.stored], `"code":"`+c.code+`"`) {
					t.Errorf("%d %s, %d stored", a.StatusCode, a.body, len(q.stored()))
				}
			})
		}
	}
}

func TestExpanderTellsABrokenBodyFromABrokenConnection(t *testing.T) {
	reset := errors.New("reset")
	for _, e := range []encoding{gzipped, zstandard} {
		whole := compressed(t, string(e), strings.Repeat("abc", 1000))
		for n := range len(whole) {
			x := newExpander(e, io.MultiReader(strings.NewReader(whole[:n]), iotest.ErrReader(reset)))
			if _, err := io.ReadAll(x); err != reset {
				t.Fatalf("%s after %d bytes: %v", e, n, err)
			}
			x.Close()
			x = newExpander(e, strings.NewReader(whole[:n]))
			if _, err := io.ReadAll(x); n > 0 {
				if _, ok := errors.AsType[*corruptError](err); !ok {
					t.Fatalf("%s of %d bytes: %v", e, n, err)
				}
			}
			x.Close()
		}
	}
}
