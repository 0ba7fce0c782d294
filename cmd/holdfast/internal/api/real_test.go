package api

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/queue"
	"holdfast/store"
)

// serveReal runs a Server over a real queue with two sinks that nobody empties.
func serveReal(t *testing.T) *httptest.Server {
	return serveQueue(t, store.Options{}, queue.Options{Sinks: []queue.SinkOptions{{Name: "a"}, {Name: "b"}}}, Options{})
}

func serveQueue(t *testing.T, so store.Options, qo queue.Options, o Options) *httptest.Server {
	t.Helper()
	ts, _ := serveOver(t, so, qo, o)
	return ts
}

func serveOver(t *testing.T, so store.Options, qo queue.Options, o Options) (*httptest.Server, *queue.Queues) {
	t.Helper()
	dir, err := store.LockDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Create(dir, [16]byte{1}); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(dir, so)
	if err != nil {
		t.Fatal(err)
	}
	q, err := queue.Open(st, qo)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	s, err := New(Over(q), o)
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
	return ts, q
}

// Guarantee E5, in part: what waits for a sink that is paused or down has no time of its own, and says so.
func TestItemOfAPausedSinkHasNoNextAttempt(t *testing.T) {
	lanes := func() []Lane { return []Lane{{Sink: "a", State: "down"}, {Sink: "b", State: "down", Since: fakeTime}} }
	ts, q := serveOver(t, store.Options{}, queue.Options{Sinks: []queue.SinkOptions{{Name: "a"}, {Name: "b"}}}, Options{Lanes: lanes})
	at := call(t, ts, "POST", "/v1/items", "hello").Header.Get("Location")
	feed, err := q.Feed("a")
	if err != nil {
		t.Fatal(err)
	}
	out, err := feed.Next(t.Context(), nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	feed.Settle(out[0], queue.Outcome{Kind: queue.Hold, After: time.Hour, Err: "status 410"})
	held := `{"sink":"a","state":"retrying","sink_state":"down","attempts":0,"next_attempt":"`
	if a := call(t, ts, "GET", at, ""); !strings.Contains(a.body, held) || !strings.Contains(a.body, `{"sink":"b","state":"waiting","sink_state":"down"}`) {
		t.Errorf("%s", a.body)
	}
	if a := call(t, ts, "GET", "/v1/sinks/a", ""); !strings.Contains(a.body, `"next_attempt":`) || feed.Waiting() != 1 {
		t.Errorf("%s, %d wait", a.body, feed.Waiting())
	}
	if a := call(t, ts, "GET", "/v1/sinks/b", ""); !strings.Contains(a.body, `"state":"down","since":"2026-01-02T03:04:05.678Z"`) {
		t.Errorf("%s", a.body)
	}
	if a := call(t, ts, "POST", "/v1/sinks/a/pause", ""); strings.Contains(a.body, "next_attempt") || !strings.Contains(a.body, `"last_error":"status 410"`) {
		t.Errorf("%s", a.body)
	}
	if a := call(t, ts, "GET", at, ""); !strings.Contains(a.body, `{"sink":"a","state":"retrying","sink_state":"paused","attempts":0,"last_error":"status 410"}`) {
		t.Errorf("%s", a.body)
	}
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

// Guarantee A8, in part: on a stream no line is answered before its wait is over while a sink owes it, the first included.
func TestRealQueueLetsEachLineOfAStreamWait(t *testing.T) {
	ts := serveReal(t)
	for _, lines := range []int{1, 3} {
		began := time.Now()
		c := openStream(t, ts, "Content-Type", ndjsonType, "Prefer", "wait=1")
		c.send(strings.Repeat("x\n", lines))
		for n := range lines {
			if a := c.want(n+1, ""); a.Item == nil || a.Item.State != "pending" || time.Since(began) < time.Second {
				t.Errorf("line %d of %d after %v: %+v", n+1, lines, time.Since(began), a.Item)
			}
		}
		_ = c.out.Close()
		c.wantEnd()
	}
}

// A budget that is used up has one name everywhere.
func TestRealQueueWhoseBudgetIsUsedUpIsFullEverywhere(t *testing.T) {
	reg := prometheus.NewRegistry()
	ts := serveQueue(t, store.Options{SegmentBytes: 1 << 20}, queue.Options{MaxBytes: 16 << 20, Sinks: []queue.SinkOptions{{Name: "a"}}},
		Options{Gatherer: reg, Registerer: reg, BlockTimeout: time.Millisecond})
	body := strings.Repeat("x", 256<<10)
	a := call(t, ts, "POST", "/v1/items", body)
	for n := 0; a.StatusCode == 202; n++ {
		if n > 100 {
			t.Fatal("it is never full")
		}
		a = call(t, ts, "POST", "/v1/items", body)
	}
	if p := a.problem(t); a.StatusCode != 503 || p.Code != "full" || !strings.Contains(p.Detail, "budget") {
		t.Errorf("%s", a.body)
	}
	for n := 0; n < 1000 && call(t, ts, "POST", "/v1/items", "x").StatusCode == 202; n++ { // to the brim: status asks for no room
	}
	if a := call(t, ts, "GET", "/v1/status", ""); !strings.Contains(a.body, `"state":"full","accepting":false`) {
		t.Errorf("%s", a.body)
	}
	if a := call(t, ts, "GET", "/readyz", ""); a.StatusCode != 503 || a.problem(t).Code != "full" {
		t.Errorf("%s", a.body)
	}
	if a := call(t, ts, "GET", "/metrics", ""); strings.Contains(a.body, `reason="full",source="http"} 0`) || !strings.Contains(a.body, `reason="disk_full",source="http"} 0`) {
		t.Errorf("%s", a.body)
	}
}
