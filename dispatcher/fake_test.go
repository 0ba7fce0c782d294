package dispatcher

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"holdfast/queue"
	"holdfast/sinks"
	"holdfast/store"
)

// fakeFeed is a queue in memory, as strict or as loose as the real one. It remembers what was handed back.
type fakeFeed struct {
	strict bool
	byKey  bool          // no two of one key are out at once, and a waiting one holds those behind it
	deaf   bool          // with strict: what the caller holds already holds it back too
	late   time.Duration // what is held comes so much later than it may
	wake   chan struct{}

	mu     sync.Mutex
	items  []*fakeItem // by number
	head   int         // all before it are settled
	paused bool
	err    error
}

type fakeItem struct {
	d        queue.Delivery
	out      bool
	settled  bool
	due      time.Time
	outcomes []queue.Outcome
	returned int
}

func newFeed(strict bool, n int) *fakeFeed {
	f := &fakeFeed{strict: strict, wake: make(chan struct{}, 1)}
	for i := range n {
		f.add(i)
	}
	return f
}

func itemID(i int) (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[8:], uint64(i))
	return id
}

func (f *fakeFeed) add(i int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	it := &store.Item{Seq: uint64(i), Time: 1_700_000_000_000 + int64(i), Body: []byte{byte(i)}, Attrs: store.MakeAttrs(map[string]string{"type": "test"})}
	f.items = append(f.items, &fakeItem{d: queue.Delivery{ID: itemID(i), Item: it}})
	f.poke()
}

func (f *fakeFeed) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *fakeFeed) Next(ctx context.Context, dst []queue.Delivery, max int) ([]queue.Delivery, error) {
	for {
		got, wait, err := f.hand(dst, max)
		if err != nil || len(got) > len(dst) {
			return got, err
		}
		var due <-chan time.Time
		if wait > 0 {
			due = time.After(wait)
		}
		select {
		case <-f.wake:
		case <-due:
		case <-ctx.Done():
			return dst, ctx.Err()
		}
	}
}

func (f *fakeFeed) hand(dst []queue.Delivery, max int) ([]queue.Delivery, time.Duration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil || f.paused {
		return dst, 0, f.err
	}
	var wait time.Duration
	busy := map[string]bool{}
	for f.head < len(f.items) && f.items[f.head].settled {
		f.head++
	}
	for _, it := range f.items[f.head:] {
		if max == 0 {
			break
		}
		key := it.d.Item.Key
		if held := busy[key]; f.byKey && !it.settled {
			if busy[key] = true; held {
				continue
			}
		}
		switch later := time.Until(it.due); {
		case it.settled:
			continue
		case it.out:
			if f.strict && (f.deaf || !slices.ContainsFunc(dst, func(d queue.Delivery) bool { return d.ID == it.d.ID })) {
				return dst, 0, nil
			}
			continue
		case later > 0:
			if wait == 0 || later < wait {
				wait = later
			}
			if f.strict {
				return dst, wait, nil
			}
		default:
			it.out = true
			dst = append(dst, it.d)
			max--
		}
	}
	return dst, wait, nil
}

func (f *fakeFeed) find(d queue.Delivery) *fakeItem {
	it := f.items[number(sinks.Item{ID: d.ID})]
	if !it.out || it.d.ID != d.ID {
		panic("a delivery was handed back twice")
	}
	it.out = false
	return it
}

func (f *fakeFeed) SettleAll(deliveries []queue.Delivery, o queue.Outcome) {
	for _, d := range deliveries {
		f.Settle(d, o)
	}
}

func (f *fakeFeed) Settle(d queue.Delivery, o queue.Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	it := f.find(d)
	it.outcomes = append(it.outcomes, o)
	switch o.Kind {
	case queue.Done, queue.Bury:
		it.settled = true
	case queue.Retry:
		it.d.Attempts++
	}
	it.due = time.Now().Add(o.After)
	if o.Kind == queue.Hold {
		it.due = it.due.Add(f.late)
	}
	f.poke()
}

func (f *fakeFeed) Return(d queue.Delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.find(d).returned++
	f.poke()
}

func (f *fakeFeed) pause(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.paused = true
	return nil
}

func (f *fakeFeed) resume() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.paused = false
	f.poke()
}

// kinds returns the kinds of outcomes that item i has had.
func (f *fakeFeed) kinds(i int) []queue.OutcomeKind {
	f.mu.Lock()
	defer f.mu.Unlock()
	var kinds []queue.OutcomeKind
	for _, o := range f.items[i].outcomes {
		kinds = append(kinds, o.Kind)
	}
	return kinds
}

func (f *fakeFeed) last(i int) queue.Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.items[i].outcomes); n > 0 {
		return f.items[i].outcomes[n-1]
	}
	return queue.Outcome{}
}

// count returns how many items had this outcome last.
func (f *fakeFeed) count(kind queue.OutcomeKind) (n int) {
	for i := range f.items {
		if f.last(i).Kind == kind {
			n++
		}
	}
	return n
}

// unsettled returns how many items are waiting, and how many are out.
func (f *fakeFeed) unsettled() (waiting, out int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, it := range f.items {
		switch {
		case it.out:
			out++
		case !it.settled:
			waiting++
		}
	}
	return waiting, out
}

// sinkFunc is a sink that is a function of the first item.
type sinkFunc func(ctx context.Context, items []sinks.Item) error

func (f sinkFunc) Deliver(ctx context.Context, items []sinks.Item) error { return f(ctx, items) }
func (f sinkFunc) Close() error                                          { return nil }

// number tells which item of the fake feed this is.
func number(it sinks.Item) int { return int(binary.BigEndian.Uint64(it.ID[8:])) }

// calls is a book of the calls of a sink: which item, and when.
type calls struct {
	mu   sync.Mutex
	list []call
}

type call struct {
	item int
	at   time.Duration
}

func (c *calls) note(start time.Time, it sinks.Item) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, call{number(it), time.Since(start)})
	n := 0
	for _, x := range c.list {
		if x.item == number(it) {
			n++
		}
	}
	return n
}

func (c *calls) all() []call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.list)
}

var (
	errTest = errors.New("no luck")
	exact   = &Retry{MaxRetries: 3, Base: 100 * time.Millisecond, Max: 5 * time.Second} // no jitter
)

// running is a dispatcher in a bubble.
type running struct {
	*Dispatcher
	t    *testing.T
	stop context.CancelFunc
	done chan error
	log  *logBook
}

// start runs lanes; the test ends them with end, or leaves that to the cleanup.
func start(t *testing.T, o Options, list ...Sink) *running {
	t.Helper()
	book := &logBook{}
	if o.Log == nil {
		o.Log = slog.New(book)
	}
	d, err := New(list, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	r := &running{d, t, stop, make(chan error, 1), book}
	go func() { r.done <- d.Run(ctx) }()
	return r
}

// end stops and returns how long that took.
func (r *running) end() time.Duration {
	r.t.Helper()
	began := time.Now()
	r.stop()
	if err := <-r.done; err != nil {
		r.t.Errorf("Run: %v", err)
	}
	return time.Since(began)
}

// after lets time pass in the bubble.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// logBook keeps what is logged at info and above.
type logBook struct {
	mu    sync.Mutex
	lines []string
	whole []string // the same with their figures
}

func (b *logBook) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (b *logBook) WithAttrs([]slog.Attr) slog.Handler           { return b }
func (b *logBook) WithGroup(string) slog.Handler                { return b }
func (b *logBook) Handle(_ context.Context, r slog.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	line := r.Level.String() + " " + r.Message
	b.lines = append(b.lines, line)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "elapsed" || a.Key == "waiting" || a.Key == "n" {
			line += " " + a.String()
		}
		return true
	})
	b.whole = append(b.whole, line)
	return nil
}

func (b *logBook) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.lines)
}

func (b *logBook) figures() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.whole)
}
