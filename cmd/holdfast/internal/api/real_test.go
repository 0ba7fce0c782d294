package api

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"holdfast/queue"
	"holdfast/store"
)

// serveReal runs a Server over a real queue with two sinks that nobody empties.
func serveReal(t *testing.T) *httptest.Server {
	t.Helper()
	dir, err := store.LockDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Create(dir, [16]byte{1}); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	q, err := queue.Open(st, queue.Options{Sinks: []queue.SinkOptions{{Name: "a"}, {Name: "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	s, err := New(Over(q), Options{})
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(s)
	t.Cleanup(func() {
		ts.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return ts
}

// Guarantees A1, A4, E5, in part: with the real queue underneath.
func TestRealQueueKeepsWhatTheAPIAccepts(t *testing.T) {
	ts := serveReal(t)
	first := call(t, ts, "POST", "/v1/items", "hello", "Idempotency-Key", "k", "Content-Type", "text/plain")
	again := call(t, ts, "POST", "/v1/items", "hello", "Idempotency-Key", `"k"`)
	if first.StatusCode != 202 || !strings.HasSuffix(first.body, `"duplicate":false,"routed_to":["a","b"]}`) {
		t.Fatalf("%d %s", first.StatusCode, first.body)
	}
	if again.Header.Get("Idempotent-Replayed") != "true" || again.Header.Get("Location") != first.Header.Get("Location") {
		t.Errorf("%s after %s", again.body, first.body)
	}
	if a := call(t, ts, "POST", "/v1/items", "other", "Idempotency-Key", "k"); a.StatusCode != 422 {
		t.Errorf("%s", a.body)
	}
	if a := call(t, ts, "GET", first.Header.Get("Location"), ""); !strings.Contains(a.body, `"state":"pending","size":5`) || strings.Count(a.body, `"state":"waiting"`) != 2 {
		t.Errorf("%s", a.body)
	}
	if a := call(t, ts, "GET", first.Header.Get("Location")+"/body", ""); a.body != "hello" {
		t.Errorf("%s", a.body)
	}
	if a := call(t, ts, "POST", "/v1/items", "x", "Prefer", "wait=1"); a.StatusCode != http.StatusAccepted || !strings.Contains(a.body, `"state":"pending"`) {
		t.Errorf("%s", a.body)
	}
	if a := call(t, ts, "POST", "/v1/sinks/a/pause", ""); !strings.Contains(a.body, `"state":"paused"`) {
		t.Errorf("%s", a.body)
	}
	for _, path := range []string{"/v1/status", "/v1/sinks", "/v1/dead", "/readyz"} {
		if a := call(t, ts, "GET", path, ""); a.StatusCode != 200 {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	if a := call(t, ts, "POST", "/v1/items", `{"body":1,"key":"`+strings.Repeat("k", 2000)+`"}`, "Content-Type", envelopeType); a.StatusCode != 400 || a.problem(t).Errors[0].Line != 1 {
		t.Errorf("%s", a.body)
	}
}

// Guarantee B1, in part: a stream's lines are accepted in their order, by the real queue.
func TestRealQueueTakesAStreamInOrder(t *testing.T) {
	ts := serveReal(t)
	const n = 20_000
	c := openStream(t, ts, "Content-Type", ndjsonType)
	go func() {
		for i := range n {
			if _, err := fmt.Fprintf(c.out, "%d\n", i); err != nil {
				return
			}
		}
		_ = c.out.Close()
	}()
	last := ""
	for i := range n {
		a := c.want(i+1, "")
		if a.Receipt.ID <= last {
			t.Fatalf("line %d has %s after %s", i+1, a.Receipt.ID, last)
		}
		last = a.Receipt.ID
	}
	c.wantEnd()
	if a := call(t, ts, "GET", "/v1/items/"+last+"/body", ""); a.body != fmt.Sprint(n-1) {
		t.Errorf("the last item is %s", a.body)
	}
}
