package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"holdfast/queue"
	"holdfast/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var fakeTime = time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)

// A fakeQueue is a queue in memory, with places to step in.
type fakeQueue struct {
	mu     sync.Mutex
	items  []queue.Item        // what was stored, guarded by mu
	keys   map[string]fakeItem // by idempotency key, guarded by mu
	paused map[string]bool     // guarded by mu
	filter queue.DeadFilter    // the last one, guarded by mu
	lost   int                 // dead letters whose items are

	submit func(ctx context.Context, r queue.Request) error // before anything is stored
	wait   func(ctx context.Context, first int) error       // of a pending; first is the place of its first item
	join   func(ctx context.Context) error                  // nil: at once
	closed int                                              // joins, guarded by mu
	opened int                                              // guarded by mu
	reason string                                           // why nothing is accepted
}

type fakeItem struct {
	id   uuid.UUID
	body string
}

func idOf(n int) uuid.UUID {
	id := uuid.UUID{0x01, 0x9b, 6: 0x70, 8: 0x80}
	binary.BigEndian.PutUint32(id[12:], uint32(n))
	return id
}

func (q *fakeQueue) Submit(ctx context.Context, r queue.Request) (Pending, error) {
	if q.submit != nil {
		if err := q.submit(ctx, r); err != nil {
			return nil, err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	var out Accepted
	first := len(q.items)
	for i, it := range r.Items {
		if known, ok := q.keys[it.IdempotencyKey]; ok {
			if known.body != string(it.Body) {
				return nil, &queue.MismatchError{Item: i, Key: it.IdempotencyKey}
			}
			out.Receipts = append(out.Receipts, queue.Receipt{ID: known.id, Accepted: fakeTime, Duplicate: true})
			continue
		}
		id := idOf(len(q.items))
		q.items = append(q.items, it)
		if it.IdempotencyKey != "" {
			if q.keys == nil {
				q.keys = map[string]fakeItem{}
			}
			q.keys[it.IdempotencyKey] = fakeItem{id, string(it.Body)}
		}
		out.Receipts = append(out.Receipts, queue.Receipt{ID: id, Accepted: fakeTime, RoutedTo: []string{"crm", `fi"le`}})
	}
	if r.Join {
		q.opened++
		out.Join = &fakeJoin{q: q}
	}
	return &fakePending{q, out, first, len(q.items)}, nil
}

func (q *fakeQueue) Join(ids ...uuid.UUID) (Join, error) {
	for _, id := range ids {
		if _, err := q.find(id); errors.Is(err, queue.ErrNotFound) {
			return nil, err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.opened++
	return &fakeJoin{q: q}, nil
}

type fakePending struct {
	q          *fakeQueue
	out        Accepted
	first, end int // its items
}

func (p *fakePending) Release() {}

func (p *fakePending) Wait(ctx context.Context) (Accepted, error) {
	if p.q.wait != nil {
		if err := p.q.wait(ctx, p.first); err != nil {
			if p.out.Join != nil { // as the real one does
				p.out.Join.Close()
			}
			return Accepted{}, err
		}
	}
	p.q.mu.Lock()
	defer p.q.mu.Unlock()
	for i := p.first; i < p.end; i++ { // until here it needs the caller's
		p.q.items[i].Body = bytes.Clone(p.q.items[i].Body)
	}
	return p.out, nil
}

type fakeJoin struct {
	q      *fakeQueue
	once   sync.Once
	closed atomic.Bool
}

func (j *fakeJoin) Wait(ctx context.Context) error {
	if j.q.join == nil || j.closed.Load() {
		return nil
	}
	return j.q.join(ctx)
}

func (j *fakeJoin) Close() {
	j.once.Do(func() {
		j.closed.Store(true)
		j.q.mu.Lock()
		defer j.q.mu.Unlock()
		j.q.closed++
	})
}

func (q *fakeQueue) find(id uuid.UUID) (queue.Item, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch n := int(binary.BigEndian.Uint32(id[12:])); {
	case id != idOf(n):
		return queue.Item{}, queue.ErrNotFound
	case n == 0xffff:
		return queue.Item{}, queue.ErrReleased
	case n >= len(q.items):
		return queue.Item{}, queue.ErrNotFound
	default:
		return q.items[n], nil
	}
}

func (q *fakeQueue) State(id uuid.UUID) (queue.ItemState, error) {
	it, err := q.find(id)
	if err != nil {
		return queue.ItemState{}, err
	}
	ended, end := context.WithCancel(context.Background())
	end()
	st := queue.ItemState{ID: id, Accepted: fakeTime, Size: len(it.Body), Attrs: it.Attrs, Key: it.Key, Sinks: []queue.Progress{{Sink: "crm", State: "done"}}}
	if st.Complete = q.join == nil || q.join(ended) == nil; !st.Complete {
		st.Sinks = append(st.Sinks, queue.Progress{Sink: "file", State: "retrying", Attempts: 2, Next: fakeTime, LastError: "delivery failed: 500"})
	}
	return st, nil
}

func (q *fakeQueue) Item(id uuid.UUID) (store.Item, error) {
	it, err := q.find(id)
	return store.Item{Attrs: it.Attrs, Key: it.Key, Body: it.Body}, err
}

func (q *fakeQueue) Sinks() []queue.SinkStatus {
	q.mu.Lock()
	defer q.mu.Unlock()
	crm := queue.SinkStatus{Name: "crm", State: "active", Waiting: 2, WaitingBytes: 20, Oldest: fakeTime, Dead: 1, Delivered: 7}
	if q.paused["crm"] {
		crm.State = "paused"
	}
	return []queue.SinkStatus{crm, {Name: "old", State: "orphan"}}
}

func (q *fakeQueue) Pause(_ context.Context, sink string) error  { return q.set(sink, true) }
func (q *fakeQueue) Resume(_ context.Context, sink string) error { return q.set(sink, false) }

func (q *fakeQueue) set(sink string, to bool) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.paused = map[string]bool{sink: to}
	return nil
}

func (q *fakeQueue) Status() queue.Status {
	return queue.Status{Accepting: q.reason == "", Reason: q.reason, MaxBytes: 100, FreeBytes: 50}
}

func (q *fakeQueue) letter() queue.DeadLetter {
	if q.lost > 0 {
		return queue.DeadLetter{Sink: "crm", ID: idOf(1), Died: fakeTime, Attempts: 3, FirstError: "a", LastError: "b", Lost: true}
	}
	return queue.DeadLetter{Sink: "crm", ID: idOf(1), Accepted: fakeTime, Died: fakeTime, Attempts: 3, FirstError: "a", LastError: "b", Item: store.Item{Key: "k", Body: []byte(`{"n":1}`)}}
}

func (q *fakeQueue) Dead(sink, after string, limit int) ([]queue.DeadLetter, string, error) {
	if after != "" {
		return nil, "", nil
	}
	return []queue.DeadLetter{q.letter()}, fmt.Sprintf("%s/%d", sink, limit), nil
}

func (q *fakeQueue) DeadLetter(sink string, id uuid.UUID) (queue.DeadLetter, error) {
	if sink != "crm" || id != idOf(1) {
		return queue.DeadLetter{}, queue.ErrNotFound
	}
	return q.letter(), nil
}

func (q *fakeQueue) Requeue(_ context.Context, f queue.DeadFilter) (n, lost int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.filter = f
	return 3, q.lost, nil
}

func (q *fakeQueue) Purge(ctx context.Context, f queue.DeadFilter) (int, error) {
	if len(f.IDs) == 1 && f.IDs[0] != idOf(1) {
		return 0, nil
	}
	n, _, err := q.Requeue(ctx, f)
	return n, err
}

func (q *fakeQueue) stored() []queue.Item {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.items
}

// serve runs a Server over q on a loopback port.
func serve(t *testing.T, q *fakeQueue, o Options) (*httptest.Server, *Server) {
	t.Helper()
	s, err := New(q, o)
	if err != nil {
		t.Fatal(err)
	}
	return serveHandler(t, s), s
}

func serveHandler(t *testing.T, s *Server) *httptest.Server {
	t.Helper()
	ts := httptest.NewUnstartedServer(s)
	handler := ts.Config.Handler
	ts.Config = s.HTTP()
	ts.Config.Handler = handler
	ts.Listener = Limit(ts.Listener, 1000) // as the service has it
	ts.Start()
	t.Cleanup(ts.Close)
	return ts
}

// An answered request, its body read.
type answered struct {
	*http.Response
	body string
}

func (a answered) problem(t *testing.T) (p struct {
	Type, Title, Detail, Code string
	Status                    int
	Errors                    []Position
}) {
	t.Helper()
	if ct := a.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Fatalf("%d of type %s: %s", a.StatusCode, ct, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	if p.Status != a.StatusCode || p.Type != "urn:holdfast:problem:"+p.Code || p.Title == "" {
		t.Errorf("status %d: %s", a.StatusCode, a.body)
	}
	if a.StatusCode == 503 && a.Header.Get("Retry-After") == "" {
		t.Errorf("503 without Retry-After")
	}
	return p
}

// call makes a request. headers are name, value, name, value, ….
func call(t *testing.T, ts *httptest.Server, method, path, body string, headers ...string) answered {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, ts.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
		req.Header[http.CanonicalHeaderKey(headers[i])] = append(req.Header[http.CanonicalHeaderKey(headers[i])], headers[i+1])
	}
	return do(t, ts, req)
}

func do(t *testing.T, ts *httptest.Server, req *http.Request) answered {
	t.Helper()
	resp, err := ts.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{resp, string(bytes.TrimSpace(b))}
}

// raw opens a connection and sends text as it is.
func raw(t *testing.T, ts *httptest.Server, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", ts.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

const (
	ndjsonType   = "application/x-ndjson"
	envelopeType = "application/vnd.holdfast.items+ndjson"
)
