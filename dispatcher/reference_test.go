package dispatcher_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"holdfast/dispatcher"
	"holdfast/queue"
	"holdfast/recovery"
	"holdfast/sinks"
	"holdfast/store"
)

// sinkFunc is a sink that is a function of one item.
type sinkFunc func(ctx context.Context, it sinks.Item) error

func (f sinkFunc) Deliver(ctx context.Context, items []sinks.Item) error { return f(ctx, items[0]) }
func (f sinkFunc) Close() error                                          { return nil }

// lane is one sink of a test: what the queue and the dispatcher must know of it.
type lane struct {
	queue.SinkOptions
	deliver sinkFunc
	retry   *dispatcher.Retry
	breaker dispatcher.Breaker
}

// house is everything between a producer and the sinks, on a real disk.
type house struct {
	*queue.Queues
	t    *testing.T
	d    *dispatcher.Dispatcher
	stop func() // in order; idempotent
}

func open(t *testing.T, dir string, lanes ...lane) *house {
	t.Helper()
	st, _, err := recovery.Open(dir, recovery.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o := queue.Options{}
	for _, l := range lanes {
		o.Sinks = append(o.Sinks, l.SinkOptions)
	}
	q, err := queue.Open(st, o)
	if err != nil {
		t.Fatal(err)
	}
	var list []dispatcher.Sink
	for _, l := range lanes {
		feed, err := q.Feed(l.Name)
		if err != nil {
			t.Fatal(err)
		}
		retry := l.retry
		if retry == nil {
			retry = &dispatcher.Retry{MaxRetries: 3, Base: time.Millisecond, Max: 5 * time.Millisecond}
		}
		list = append(list, dispatcher.Sink{Name: l.Name, Feed: feed, Sink: l.deliver, Retry: retry, Breaker: l.breaker,
			Pause: func(ctx context.Context) error { return q.Pause(ctx, l.Name) }})
	}
	d, err := dispatcher.New(list, dispatcher.Options{Drain: 50 * time.Millisecond, Grace: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{Queues: q, t: t, d: d}
	h.run(st)
	return h
}

func (h *house) run(st *store.Store) {
	ctx, stop := context.WithCancel(h.t.Context())
	queued, finish := context.WithCancel(context.WithoutCancel(ctx))
	delivered, committed := make(chan error, 1), make(chan error, 1)
	go func() { delivered <- h.d.Run(ctx) }()
	go func() { committed <- h.Run(queued) }()
	h.stop = sync.OnceFunc(func() {
		stop()
		err := <-delivered
		finish()
		if err := errors.Join(err, <-committed, st.Close()); err != nil {
			h.t.Error(err)
		}
	})
	h.t.Cleanup(h.stop)
}

// put accepts one item and returns its id and its ack.
func (h *house) put(it queue.Item) (uuid.UUID, *queue.Join) {
	h.t.Helper()
	a, err := h.Put(h.t.Context(), queue.Request{Source: "http", Items: []queue.Item{it}, Join: true})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(a.Join.Close)
	return a.Receipts[0].ID, a.Join
}

// acked waits for an ack.
func (h *house) acked(j *queue.Join) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	defer cancel()
	if err := j.Wait(ctx); err != nil {
		h.t.Fatal("no ack: ", err)
	}
}

// await polls until ok.
func (h *house) await(ok func() bool) {
	h.t.Helper()
	tick, end := time.NewTicker(time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			h.t.Fatal("it never came")
		}
	}
}

// owed reports whether an ack is still owed.
func (h *house) owed(j *queue.Join) bool {
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Millisecond)
	defer cancel()
	return j.Wait(ctx) != nil
}

// dead returns all dead letters.
func (h *house) dead() []queue.DeadLetter {
	h.t.Helper()
	list, _, err := h.Dead("", "", 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}

// books is what a sink has seen.
type books struct {
	mu   sync.Mutex
	seen []sinks.Item
}

func (b *books) add(it sinks.Item) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	it.Body = bytes.Clone(it.Body)
	b.seen = append(b.seen, it)
	return len(b.seen)
}

func (b *books) all() []sinks.Item {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.seen)
}

func named(name string) queue.SinkOptions { return queue.SinkOptions{Name: name} }

var errTest = errors.New("no luck")

// Guarantee H: delivers_and_acks_single_sink.
func TestDeliversAndAcksSingleSink(t *testing.T) {
	var b books
	h := open(t, t.TempDir(), lane{SinkOptions: named("s"), deliver: func(_ context.Context, it sinks.Item) error { b.add(it); return nil }})
	var ids []uuid.UUID
	var acks []*queue.Join
	for i := range 10 {
		id, ack := h.put(queue.Item{Body: []byte{byte(i)}})
		ids, acks = append(ids, id), append(acks, ack)
	}
	for _, ack := range acks {
		h.acked(ack)
	}
	seen := b.all()
	if len(seen) != 10 {
		t.Fatalf("%d deliveries", len(seen))
	}
	for i, it := range seen {
		if it.ID != ids[i] || it.Body[0] != byte(i) {
			t.Errorf("delivery %d: %+v", i, it)
		}
	}
}

// Guarantee H: retries_then_succeeds.
func TestRetriesThenSucceeds(t *testing.T) {
	var b books
	var arrived atomic.Int64
	h := open(t, t.TempDir(), lane{SinkOptions: named("s"), retry: &dispatcher.Retry{MaxRetries: 5}, deliver: func(_ context.Context, it sinks.Item) error {
		if b.add(it) <= 3 {
			return errTest
		}
		arrived.Add(1)
		return nil
	}})
	_, ack := h.put(queue.Item{Body: []byte("x")})
	h.acked(ack)
	if len(b.all()) != 4 || arrived.Load() != 1 || len(h.dead()) != 0 {
		t.Errorf("%d attempts, %d arrived, %d dead letters", len(b.all()), arrived.Load(), len(h.dead()))
	}
}

// Guarantee H: terminal_failure_routes_to_dlq_and_acks.
// Guarantees C1, D2, in part: what a dead letter says.
func TestTerminalFailureRoutesToDLQAndAcks(t *testing.T) {
	var b books
	h := open(t, t.TempDir(), lane{SinkOptions: named("s"), deliver: func(_ context.Context, it sinks.Item) error { b.add(it); return errTest }})
	id, ack := h.put(queue.Item{Body: []byte("x")})
	h.acked(ack)
	dead := h.dead()
	if len(dead) != 1 || len(b.all()) != 4 {
		t.Fatalf("%d dead letters after %d attempts", len(dead), len(b.all()))
	}
	if d := dead[0]; d.ID != id || d.Sink != "s" || d.Attempts != 4 || d.Permanent || d.LastError != "delivery failed: no luck" {
		t.Errorf("dead letter %+v", d)
	}
}

// Guarantee H: permanent_failure_skips_retries_and_dlqs.
// Guarantees C3, D2, in part: what a permanent dead letter says.
func TestPermanentFailureSkipsRetriesAndDLQs(t *testing.T) {
	var b books
	h := open(t, t.TempDir(), lane{SinkOptions: named("s"), deliver: func(_ context.Context, it sinks.Item) error { b.add(it); return sinks.Permanent(errTest) }})
	_, ack := h.put(queue.Item{Body: []byte("x")})
	h.acked(ack)
	dead := h.dead()
	if len(dead) != 1 || len(b.all()) != 1 {
		t.Fatalf("%d dead letters after %d attempts", len(dead), len(b.all()))
	}
	if d := dead[0]; !d.Permanent || d.Attempts != 1 || d.LastError != "delivery failed: permanent: no luck" {
		t.Errorf("dead letter %+v", d)
	}
}

// Guarantee H: ack_join_waits_for_all_sinks.
func TestAckJoinWaitsForAllSinks(t *testing.T) {
	gate, first := make(chan struct{}), make(chan struct{}, 1)
	h := open(t, t.TempDir(),
		lane{SinkOptions: named("a"), deliver: func(context.Context, sinks.Item) error { first <- struct{}{}; return nil }},
		lane{SinkOptions: named("b"), deliver: func(context.Context, sinks.Item) error { <-gate; return nil }})
	_, ack := h.put(queue.Item{Body: []byte("x")})
	<-first
	if !h.owed(ack) {
		t.Error("acked before the second sink had it")
	}
	close(gate)
	h.acked(ack)
}

// Guarantee H: drop_on_full_never_blocks_and_still_acks.
func TestDropOnFullNeverBlocksAndStillAcks(t *testing.T) {
	gate := make(chan struct{})
	var arrived atomic.Int64
	o := named("s")
	o.Bounds = queue.Bounds{Items: new(int64(1)), OnFull: queue.DropNewest}
	h := open(t, t.TempDir(), lane{SinkOptions: o, deliver: func(context.Context, sinks.Item) error { <-gate; arrived.Add(1); return nil }})
	var acks []*queue.Join
	for i := range 50 {
		_, ack := h.put(queue.Item{Body: []byte{byte(i)}}) // returns while the sink is gated
		acks = append(acks, ack)
	}
	close(gate)
	for _, ack := range acks {
		h.acked(ack)
	}
	if s := h.Sinks()[0]; s.Dropped != 49 || arrived.Load() != 1 {
		t.Errorf("%d dropped, %d arrived", s.Dropped, arrived.Load())
	}
}

// sameItem compares what all attempts of an item and all sinks share.
func sameItem(t *testing.T, got, want sinks.Item) {
	t.Helper()
	if got.ID != want.ID || !got.Accepted.Equal(want.Accepted) || got.Key != want.Key || !bytes.Equal(got.Body, want.Body) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	a, b := map[string]string{}, map[string]string{}
	for k, v := range got.Attrs.All() {
		a[k] = v
	}
	for k, v := range want.Attrs.All() {
		b[k] = v
	}
	if diff := cmp.Diff(b, a); diff != "" || len(a) != 2 {
		t.Error("attributes: ", diff, a)
	}
}

var anItem = queue.Item{Key: "door 7", Attrs: store.MakeAttrs(map[string]string{"type": "door.open", "traceparent": "00-1-2-01"}), Body: []byte("open")}

// Guarantee H: retry_reuses_the_same_delivery_context.
func TestRetryReusesTheSameDeliveryContext(t *testing.T) {
	var b books
	h := open(t, t.TempDir(), lane{SinkOptions: named("s"), deliver: func(_ context.Context, it sinks.Item) error {
		if b.add(it) < 4 {
			return errTest
		}
		return nil
	}})
	id, ack := h.put(anItem)
	h.acked(ack)
	for i, it := range b.all() {
		if it.ID != id || it.Attempt != i+1 {
			t.Errorf("call %d: id %v, attempt %d", i, it.ID, it.Attempt)
		}
		sameItem(t, it, b.all()[0])
	}
}

// Guarantee H: fanout_shares_one_delivery_context.
func TestFanoutSharesOneDeliveryContext(t *testing.T) {
	var b books
	see := func(_ context.Context, it sinks.Item) error { b.add(it); return nil }
	h := open(t, t.TempDir(), lane{SinkOptions: named("a"), deliver: see}, lane{SinkOptions: named("b"), deliver: see}, lane{SinkOptions: named("c"), deliver: see})
	id, ack := h.put(anItem)
	h.acked(ack)
	seen := b.all()
	if len(seen) != 3 {
		t.Fatalf("%d deliveries", len(seen))
	}
	for _, it := range seen {
		if it.ID != id {
			t.Errorf("id %v, want %v", it.ID, id)
		}
		sameItem(t, it, seen[0])
	}
}

// Guarantee H: the dead letter holds the item's own bytes whatever format the sink sends.
// Guarantee D2, in part: the item.
func TestDeadLetterHoldsTheItemsOwnBytesWhateverFormatTheSinkSends(t *testing.T) {
	h := open(t, t.TempDir(), lane{SinkOptions: named("s"), deliver: func(_ context.Context, it sinks.Item) error {
		sent := strings.ToUpper(string(it.Body)) // its own format, in a buffer of its own
		return sinks.Permanent(errors.New("refused: " + sent))
	}})
	body := []byte("\x00raw \xff bytes\n")
	id, ack := h.put(queue.Item{Body: body, Key: "k"})
	h.acked(ack)
	d, err := h.DeadLetter("s", id)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(d.Item.Body, body) || d.Item.Key != "k" {
		t.Errorf("the dead letter holds %q", d.Item.Body)
	}
}

// Guarantees C5, C6: attempts, the last error and the time of the next attempt survive a restart.
func TestBudgetAndRetryAfterSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	var b books
	failed := make(chan struct{}, 9)
	first := lane{SinkOptions: named("s"), retry: &dispatcher.Retry{MaxRetries: 3}, deliver: func(_ context.Context, it sinks.Item) error {
		b.add(it)
		failed <- struct{}{}
		if it.Attempt == 3 {
			return sinks.RetryAfter(time.Hour, errTest)
		}
		return errTest
	}}
	h := open(t, dir, first)
	id, _ := h.put(queue.Item{Body: []byte("x")})
	for range 3 {
		<-failed
	}
	h.stop()

	called := make(chan struct{}, 9)
	h = open(t, dir, lane{SinkOptions: named("s"), deliver: func(context.Context, sinks.Item) error { called <- struct{}{}; return nil }})
	s, err := h.State(id)
	if err != nil {
		t.Fatal(err)
	}
	p := s.Sinks[0]
	if p.State != "retrying" || p.Attempts != 2 || p.LastError != "delivery failed: no luck" {
		t.Errorf("after the restart: %+v", p)
	}
	if left := time.Until(p.Next); left < 59*time.Minute || left > time.Hour {
		t.Errorf("the next attempt is in %v", left)
	}
	select {
	case <-called:
		t.Error("attempted before Retry-After is over")
	case <-time.After(50 * time.Millisecond):
	}
}

// Guarantee C6: the retry budget goes on where it was.
func TestRetryBudgetDoesNotStartAnew(t *testing.T) {
	dir := t.TempDir()
	failed := make(chan struct{}, 9)
	slow := &dispatcher.Retry{MaxRetries: 2, Base: 100 * time.Millisecond, Max: 100 * time.Millisecond}
	h := open(t, dir, lane{SinkOptions: named("s"), retry: slow, deliver: func(context.Context, sinks.Item) error { failed <- struct{}{}; return errTest }})
	id, _ := h.put(queue.Item{Body: []byte("x")})
	<-failed
	h.stop()

	var b books
	h = open(t, dir, lane{SinkOptions: named("s"), retry: slow, deliver: func(_ context.Context, it sinks.Item) error { b.add(it); return errTest }})
	ack, err := h.Join(id)
	if err != nil {
		t.Fatal(err)
	}
	defer ack.Close()
	h.acked(ack)
	seen := b.all()
	if len(seen) != 2 || seen[0].Attempt != 2 || seen[1].Attempt != 3 {
		t.Errorf("after the restart: %d attempts", len(seen))
	}
	if d := h.dead(); len(d) != 1 || d[0].Attempts != 3 {
		t.Errorf("dead letters: %+v", d)
	}
}

// Guarantees E2, E3, G3, in part: a stop that cuts attempts short settles nothing; what another sink has is not sent to
// it again, and the item reaches the others after the restart.
func TestStopInMidAttemptKeepsTheItem(t *testing.T) {
	dir := t.TempDir()
	var a, b books
	began := make(chan struct{}, 9)
	see := func(b *books) sinkFunc {
		return func(_ context.Context, it sinks.Item) error { b.add(it); return nil }
	}
	h := open(t, dir, lane{SinkOptions: named("a"), deliver: see(&a)}, lane{SinkOptions: named("b"), deliver: func(ctx context.Context, _ sinks.Item) error {
		began <- struct{}{}
		<-ctx.Done()
		return sinks.Permanent(ctx.Err())
	}})
	id, ack := h.put(queue.Item{Body: []byte("x")})
	<-began
	h.await(func() bool { return !h.owedTo(id, "a") })
	if !h.owed(ack) {
		t.Error("acked while b had not got it")
	}
	h.stop()
	if err := ack.Wait(canceled(t)); err == nil {
		t.Error("acked by the stop")
	}

	h = open(t, dir, lane{SinkOptions: named("a"), deliver: see(&a)}, lane{SinkOptions: named("b"), deliver: see(&b)})
	ack, err := h.Join(id)
	if err != nil {
		t.Fatal(err)
	}
	defer ack.Close()
	h.acked(ack)
	if len(a.all()) != 1 || len(b.all()) != 1 || b.all()[0].ID != id || b.all()[0].Attempt != 1 {
		t.Errorf("a saw it %d times, b %d times", len(a.all()), len(b.all()))
	}
	if len(h.dead()) != 0 {
		t.Error("a dead letter")
	}
}

func (h *house) owedTo(id uuid.UUID, sink string) bool {
	h.t.Helper()
	s, err := h.State(id)
	if err != nil {
		h.t.Fatal(err)
	}
	return slices.ContainsFunc(s.Sinks, func(p queue.Progress) bool { return p.Sink == sink && p.State != "done" })
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// A destination that is gone for good: the sink is paused durably, and keeps what it holds.
func TestGoneSinkIsPausedOverARestart(t *testing.T) {
	dir := t.TempDir()
	o := lane{SinkOptions: named("s"), deliver: func(context.Context, sinks.Item) error { return sinks.Gone(errTest) }}
	h := open(t, dir, o)
	id, _ := h.put(queue.Item{Body: []byte("x")})
	h.await(func() bool { return h.Sinks()[0].State == "paused" })
	h.stop()
	var b books
	o.deliver = func(_ context.Context, it sinks.Item) error { b.add(it); return nil }
	h = open(t, dir, o)
	if s := h.Sinks()[0]; s.State != "paused" || s.Waiting != 1 {
		t.Fatalf("after the restart: %+v", s)
	}
	ack, err := h.Join(id)
	if err != nil {
		t.Fatal(err)
	}
	defer ack.Close()
	if err := h.Resume(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	h.acked(ack)
	if len(b.all()) != 1 {
		t.Errorf("%d deliveries", len(b.all()))
	}
}
