package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"holdfast/queue"
)

func hang(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// Guarantees A8 and E1, in part: one that comes later can wait too, and hears of the ack and not of what memory knows.
func TestLateWaiterGetsTheAckOrTheStateAsItStands(t *testing.T) {
	for name, c := range map[string]struct {
		join   func(context.Context) error
		query  string
		prefer string
		status int
		state  string
	}{
		"done":             {nil, "?wait=1", "", 200, "complete"},
		"done, by header":  {nil, "", "wait=1", 200, "complete"},
		"not done":         {hang, "?wait=1", "", 202, "pending"},
		"not by header":    {hang, "", "wait=1", 202, "pending"},
		"query before it":  {hang, "?wait=1", "wait=300", 202, "pending"},
		"nobody waits":     {hang, "", "", 200, "pending"},
		"not durable yet":  {func(ctx context.Context) error { return ctx.Err() }, "", "", 200, "pending"},
		"other preference": {hang, "", "respond-async", 200, "pending"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := &fakeQueue{join: c.join}
			ts, _ := serve(t, q, Options{})
			call(t, ts, "POST", "/v1/items", "x")
			began := time.Now()
			a := call(t, ts, "GET", "/v1/items/"+idOf(0).String()+c.query, "", "Prefer", c.prefer)
			var st itemState
			if err := json.Unmarshal([]byte(a.body), &st); err != nil || a.StatusCode != c.status || st.State != c.state || st.Size == nil || *st.Size != 1 {
				t.Errorf("%d %s, %v", a.StatusCode, a.body, err)
			}
			if d := time.Since(began); (c.status == 202) != (d > 900*time.Millisecond) || d > 10*time.Second {
				t.Errorf("it took %v", d)
			}
			if q.opened != q.closed {
				t.Errorf("%d joins opened, %d closed", q.opened, q.closed)
			}
		})
	}
}

// A stateQueue tells states that a test makes up.
type stateQueue struct {
	*fakeQueue
	states []func() (queue.ItemState, error) // one after the other; the last stays
}

func (q *stateQueue) State(uuid.UUID) (queue.ItemState, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	st := q.states[0]
	if len(q.states) > 1 {
		q.states = q.states[1:]
	}
	return st()
}

// Guarantee E1, in part: what is settled and not durable yet is no ack; Guarantee E5, in part: what went while somebody
// waited was complete.
func TestWaiterIsToldWhatIsDurable(t *testing.T) {
	state := func(complete bool) func() (queue.ItemState, error) {
		return func() (queue.ItemState, error) {
			return queue.ItemState{ID: idOf(0), Accepted: fakeTime, Complete: complete, Size: 1, Sinks: []queue.Progress{{Sink: "crm", State: "waiting"}}}, nil
		}
	}
	gone := func(err error) func() (queue.ItemState, error) {
		return func() (queue.ItemState, error) { return queue.ItemState{}, err }
	}
	for name, c := range map[string]struct {
		join   func(context.Context) error
		states []func() (queue.ItemState, error)
		status int
		want   string
	}{
		"settled in memory alone": {hang, []func() (queue.ItemState, error){state(true)}, 202, `"state":"pending"`},
		"released while waiting":  {nil, []func() (queue.ItemState, error){state(false), gone(queue.ErrReleased)}, 200, `"state":"complete","size":1,"attrs":{},"sinks":[]`},
		"released before":         {nil, []func() (queue.ItemState, error){gone(queue.ErrReleased)}, 410, "released"},
		"unknown":                 {nil, []func() (queue.ItemState, error){gone(queue.ErrNotFound)}, 404, "not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := New(&stateQueue{&fakeQueue{join: c.join, items: make([]queue.Item, 1)}, c.states}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			ts := serveHandler(t, s)
			a := call(t, ts, "GET", "/v1/items/"+idOf(0).String()+"?wait=1", "")
			if a.StatusCode != c.status || !strings.Contains(a.body, c.want) {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
		})
	}
	s, err := New(&stateQueue{&fakeQueue{join: hang}, []func() (queue.ItemState, error){state(true)}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ts := serveHandler(t, s)
	if a := call(t, ts, "POST", "/v1/items", "x", "Prefer", "wait=1"); a.StatusCode != 202 || !strings.Contains(a.body, `"state":"pending"`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := call(t, ts, "POST", "/v1/stream", "x\n", "Prefer", "wait=1"); !strings.Contains(a.body, `"state":"pending"`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestWaitsThatMeanNothingAreRefused(t *testing.T) {
	ts, _ := serve(t, &fakeQueue{}, Options{})
	call(t, ts, "POST", "/v1/items", "x")
	item := "/v1/items/" + idOf(0).String()
	for _, c := range []struct {
		method, path, prefer, field string
		status                      int
	}{
		{"GET", item + "?wait=0", "", "wait", 400}, {"GET", item + "?wait=301", "", "wait", 400}, {"GET", item + "?wait=", "", "wait", 400},
		{"GET", item + "?wait=soon", "", "wait", 400}, {"GET", item + "?wait=1&wait=2", "", "wait", 400}, {"GET", item + "?wiat=1", "", "wiat", 400},
		{"GET", item, "wait=301", "", 200}, {"GET", item + "?%zz", "", "", 400}, {"GET", item + "?wait=300", "", "", 200}, {"HEAD", item + "?wait=300", "", "", 200},
		{"POST", "/v1/stream?ack=never", "", "ack", 400}, {"POST", "/v1/stream?ack=", "", "ack", 400}, {"POST", "/v1/stream?akc=durable", "", "akc", 400},
	} {
		a := call(t, ts, c.method, c.path, "", "Prefer", c.prefer)
		if a.StatusCode != c.status || c.field != "" && a.problem(t).Errors[0].Field != c.field {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.StatusCode, a.body)
		}
	}
}

func TestStopEndsTheWaitOfALateWaiter(t *testing.T) {
	stopping, waits := make(chan struct{}), make(chan struct{}, 1)
	q := &fakeQueue{items: make([]queue.Item, 1)}
	q.join = func(ctx context.Context) error {
		if ctx.Err() == nil {
			waits <- struct{}{}
		}
		return hang(ctx)
	}
	ts, _ := serve(t, q, Options{Stopping: stopping})
	go func() { <-waits; close(stopping) }()
	if a := call(t, ts, "GET", "/v1/items/"+idOf(0).String()+"?wait=300", ""); a.StatusCode != http.StatusAccepted {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// Guarantee A8, in part: a stream says in its address which ack it wants.
func TestStreamSaysWhichAckItWants(t *testing.T) {
	for query, c := range map[string]struct{ prefer, applied, member string }{
		"":                {"", "", "receipt"},
		"?ack=durable":    {"", "", "receipt"},
		"?ack=delivered":  {"", "wait=300", "item"},
		"?ack=delivered&": {"wait=7", "wait=7", "item"},
		"?ack=durable&":   {"wait=7", "", "receipt"},
		"?":               {"wait=7", "wait=7", "item"},
	} {
		q := &fakeQueue{}
		ts, _ := serve(t, q, Options{})
		a := call(t, ts, "POST", "/v1/stream"+query, "x\n", "Prefer", c.prefer)
		if a.StatusCode != 200 || a.Header.Get("Preference-Applied") != c.applied || !strings.HasPrefix(a.body, `{"line":1,"`+c.member+`":`) || q.opened != q.closed {
			t.Errorf("%s: %d %s %v", query, a.StatusCode, a.body, a.Header)
		}
	}
}

// Guarantee A8, in part: with the real queue underneath.
func TestLateWaiterWaitsForTheRealQueue(t *testing.T) {
	ts := serveReal(t)
	first := call(t, ts, "POST", "/v1/items", "x")
	a := call(t, ts, "GET", first.Header.Get("Location")+"?wait=1", "")
	if a.StatusCode != 202 || !strings.Contains(a.body, `"state":"pending"`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := call(t, ts, "GET", "/v1/items/"+idOf(7).String()+"?wait=1", ""); a.StatusCode != 404 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}
