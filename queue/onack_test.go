package queue_test

import (
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"holdfast/queue"
	"holdfast/store"
)

// A hook keeps the ids that OnAck is called with.
type hook struct {
	mu    sync.Mutex
	calls map[uuid.UUID]int
	gate  chan struct{} // nil: it does not wait
}

func (h *hook) onAck(ids []uuid.UUID) {
	h.mu.Lock()
	gate := h.gate
	for _, id := range ids {
		h.calls[id]++
	}
	h.mu.Unlock()
	if gate != nil {
		<-gate
	}
}

// of tells how often the hook was called for each.
func (h *hook) of(receipts ...queue.Receipt) (n []int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range receipts {
		n = append(n, h.calls[r.ID])
	}
	return n
}

func hooked(o queue.Options) (*hook, queue.Options) {
	h := &hook{calls: map[uuid.UUID]int{}}
	o.OnAck = h.onAck
	return h, o
}

// Guarantees E2, E4: the hook is called once for each item, when its last bit is durable, whatever set it; a requeue calls it
// for nobody again.
func TestOnAckIsCalledOncePerItemAfterItsLastMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, o := hooked(lazily(none("a", 100), evicting("b", 3, queue.DropOldest)))
		b := newBenchOf(t, o)
		rs := b.accept(queue.Item{Body: []byte("done")}, queue.Item{Body: []byte("dead")}, mortal("expired", time.Minute))
		ds := b.poll("a", 2)
		b.settle("a", done, ds[0])
		b.settle("a", buried("no"), ds[1])
		time.Sleep(time.Minute)
		b.none("a")
		b.flush()
		synctest.Wait()
		equal(t, "b owes them", h.of(rs...), []int{0, 0, 0})
		more := b.put("evicts", "two")
		synctest.Wait()
		equal(t, "not durable", h.of(rs...), []int{0, 0, 0})
		b.flush()
		synctest.Wait()
		equal(t, "dropped by b", h.of(rs...), []int{1, 1, 0})
		equal(t, "requeued", b.requeue(queue.DeadFilter{All: true}), 1)
		b.drain("a", "b")
		b.flush()
		synctest.Wait()
		b.restart()
		b.flush()
		synctest.Wait()
		equal(t, "in the end", h.of(append(rs, more...)...), []int{1, 1, 1, 1, 1})
		b.stop()
	})
}

// Guarantee E4: items that all sinks dropped, or that no sink wants, are acked too, without anything else happening.
func TestOnAckIsCalledForWhatNobodyIsOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := bounded("full", 0, queue.DropNewest)
		picky := named("picky")[0]
		picky.Match = matchNothing
		h, o := hooked(queue.Options{Sinks: []queue.SinkOptions{full, picky}})
		b := newBenchOf(t, o)
		rs := b.put("x", "y")
		time.Sleep(time.Second)
		rs = append(rs, b.put("alone")...)
		time.Sleep(time.Second)
		equal(t, "calls", h.of(rs...), []int{1, 1, 1})
		b.crash()
		time.Sleep(time.Second)
		rs = append(rs, b.put("z")...)
		time.Sleep(time.Second)
		equal(t, "calls", h.of(rs...), []int{1, 1, 1, 1})
		b.stop()
	})
}

// Guarantees B6, E4: at least once, also over a crash between the last mark and the hook's return; no segment stays for that.
func TestOnAckIsCalledAgainAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, o := hooked(queue.Options{Sinks: []queue.SinkOptions{none("a", 1000)}})
		h.gate = make(chan struct{})
		b := newBenchOf(t, o)
		first := b.put("first")
		b.settle("a", done, b.take("a", 1)...)
		settled()
		equal(t, "it hangs in the hook", h.of(first...), []int{1})
		b.fill(400, 3000)
		b.drain("a")
		settled()
		if n := b.segments(); n > 1 {
			t.Errorf("%d segments are kept for acks", n)
		}
		m := b.image()
		close(h.gate)
		h.mu.Lock()
		h.gate = nil
		h.mu.Unlock()
		settled()
		if n := b.segments(); n > 1 {
			t.Errorf("%d segments are left after the acks", n)
		}
		h.mu.Lock()
		for id, n := range h.calls {
			if n != 1 {
				t.Errorf("%d calls for %s", n, id)
			}
		}
		equal(t, "items", len(h.calls), 401)
		h.mu.Unlock()
		b.revive(m)
		settled()
		h.mu.Lock()
		for id, n := range h.calls {
			if n != 2 {
				t.Errorf("%d calls for %s", n, id)
			}
		}
		h.mu.Unlock()
		if n := b.segments(); n > 1 {
			t.Errorf("%d segments are left", n)
		}
		b.restart()
		settled()
		equal(t, "not again", h.of(first...), []int{2})
		b.stop()
	})
}

// Guarantee E4: the ack of a last bit is durable with the bit, also when an operation makes it so; and not before every bit
// is.
func TestAckIsOwedByTheCommitThatHasTheLastBit(t *testing.T) {
	for _, c := range []struct {
		what    string
		settles []string // between a mark commit and one of a alone
		acks    int
	}{
		{"the other was durable", []string{"a"}, 1},
		{"the other is settled, and not durable", []string{"a", "b"}, 0},
		{"the other owes it", []string{"a"}, 0},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, o := hooked(lazily(named("a", "b")...))
				b := newBenchOf(t, o)
				r := b.put("x")
				if c.what == "the other was durable" {
					b.drain("b")
					b.flush()
				}
				var m image
				b.ok(b.q.Between(func() { b.drain(c.settles...) }, "a", func() { m = b.image() }))
				b.stop()
				clear(h.calls)
				b.revive(m)
				synctest.Wait()
				equal(t, "after a crash", h.of(r...), []int{c.acks})
				b.none("a")
				b.drain("b")
				b.flush()
				synctest.Wait()
				equal(t, "in the end", h.of(r...), []int{1})
				b.stop()
			})
		})
	}
}

// Guarantee E4, in part: whenever the process is killed while lanes settle and an operator requeues, every item is acked.
func TestKilledProcessForgetsNoAck(t *testing.T) {
	h, o := hooked(lazily(none("a", 1000)))
	b := newBenchOf(t, o)
	ctx, cancel := patience()
	defer cancel()
	var receipts []queue.Receipt
	for range 10 {
		receipts = append(receipts, b.put(numbers(0, 30)...)...)
	}
	f := b.feed("a")
	var lane sync.WaitGroup
	lane.Go(func() {
		for n := 0; ; n++ {
			ds, err := f.Next(ctx, nil, 3)
			if err != nil {
				return
			}
			for i, d := range ds {
				o := done
				if (n+i)%3 == 0 {
					o = buried("no")
				}
				f.Settle(d, o)
			}
		}
	})
	type moment struct {
		image
		called map[uuid.UUID]int // before
	}
	var moments []moment
	q := b.q
	var operator sync.WaitGroup
	operator.Go(func() {
		for ctx.Err() == nil {
			if _, _, err := q.Requeue(ctx, queue.DeadFilter{All: true}); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	for range 8 {
		var m moment
		m.image = b.imageAt(func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			m.called = maps.Clone(h.calls)
		})
		moments = append(moments, m)
	}
	cancel()
	lane.Wait()
	operator.Wait()
	for i, m := range moments {
		h.mu.Lock()
		clear(h.calls)
		h.mu.Unlock()
		b.revive(m.image)
		b.drain("a")
		soon, cancel := patience()
		missing := len(receipts)
		for missing > 0 && soon.Err() == nil {
			b.flush()
			missing = 0
			for j, n := range h.of(receipts...) {
				if n+m.called[receipts[j].ID] == 0 {
					missing++
				}
			}
		}
		cancel()
		if missing > 0 {
			t.Errorf("image %d: %d of %d items were never acked", i, missing, len(receipts))
		}
	}
}

// Guarantees E1, E4: a commit that failed neither forgets an ack nor has it owed before every bit is durable.
func TestFailedCommitNeitherForgetsNorHurriesAnAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, o := hooked(lazily(named("a", "b")...))
		b := newBenchOf(t, o)
		r := b.put("x")
		var m image
		b.ok(b.q.FailBetween(func() { b.drain("a", "b") }, "a", "b", func() { m = b.image() }))
		synctest.Wait()
		equal(t, "a's bit is not durable", h.of(r...), []int{0})
		b.flush()
		synctest.Wait()
		equal(t, "both are", h.of(r...), []int{1})
		b.stop()
		clear(h.calls)
		b.revive(m)
		b.flush()
		synctest.Wait()
		equal(t, "after a crash", h.of(r...), []int{0})
		equal(t, "a gets it again", b.drain("a", "b"), []string{"x"})
		b.flush()
		synctest.Wait()
		equal(t, "in the end", h.of(r...), []int{1})
		b.stop()
	})
}

// typed are items of a type, numbered and of 1,000 bytes.
func typed(typ string, n int) (items []queue.Item) {
	for range n {
		items = append(items, queue.Item{Attrs: store.MakeAttrs(map[string]string{"type": typ}), Body: make([]byte, 1000)})
	}
	return items
}

func ofType(typ string) func(store.Attrs) bool {
	return func(a store.Attrs) bool { return a.Get("type") == typ }
}

// Guarantee E4, in part: an item that cannot be read for a while is acked when it can, also after a crash meanwhile.
func TestAckOfAnItemThatCannotBeReadComesLater(t *testing.T) {
	for _, crash := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a := evicting("a", 200, queue.DropOldest)
			a.Match = ofType("a")
			h, o := hooked(lazily(a, named("b")[0]))
			b := newBenchOf(t, o)
			rs := b.accept(typed("a", 1)...) // a look at the status opens the segment of the oldest
			b.fill(300, 1000)
			rs = append(append(rs, b.accept(typed("a", 100)...)...), b.accept(typed("a", 99)...)...)
			b.settle("a", queue.Outcome{Kind: queue.Retry, After: time.Hour, Err: "503"}, b.take("a", 200)...)
			b.fill(600, 1000)
			b.drain("b")
			b.restart()
			segments, err := filepath.Glob(filepath.Join(b.dir, "log", "*.log"))
			b.ok(err)
			segments = segments[:len(segments)-1]
			for _, s := range segments {
				b.ok(os.Rename(s, s+".away"))
			}
			b.accept(typed("a", 3)...) // the oldest three go, and nobody reads them
			b.flush()
			b.flush()
			synctest.Wait()
			equal(t, "unreadable", h.of(rs[:4]...), []int{1, 0, 0, 0})
			b.flush() // that the hook has returned is durable, too: else it is called again after a crash
			for _, s := range segments {
				b.ok(os.Rename(s+".away", s))
			}
			if crash {
				b.crash()
			}
			b.flush()
			synctest.Wait()
			equal(t, "readable", h.of(rs[:4]...), []int{1, 1, 1, 0})
			time.Sleep(time.Hour)
			b.drain("a", "b")
			b.flush()
			synctest.Wait()
			b.flush() // likewise before a stop
			b.restart()
			b.flush()
			synctest.Wait()
			equal(t, "in the end", h.of(rs[:4]...), []int{1, 1, 1, 1})
			equal(t, "nothing is in doubt", b.acks(), 0)
			b.stop()
		})
	}
}

// acks are how many are owed durably.
func (b *bench) acks() int {
	b.Helper()
	acks, err := b.st.Acks(0, 4096)
	b.ok(err)
	return len(acks)
}

// Guarantees B6, E4: with a hook, too, a few stuck items pin no segments, and they are acked in the end.
func TestStuckItemsThatAreToBeAckedPinNoSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := none("stuck", 100)
		stuck.Match = ofType("x")
		h, o := hooked(queue.Options{Sinks: []queue.SinkOptions{stuck, none("b", 10_000)}})
		b := newBenchOf(t, o)
		var rs []queue.Receipt
		for range 6 {
			rs = append(rs, b.accept(typed("x", 1)...)...)
			b.settle("stuck", queue.Outcome{Kind: queue.Retry, After: 20 * time.Hour, Err: "503"}, b.take("stuck", 1)...)
			b.fill(80, 3000)
			b.drain("b")
		}
		settled()
		if n := b.segments(); n > 2 {
			t.Errorf("%d segments are kept by six small items", n)
		}
		equal(t, "acks", h.of(rs...), []int{0, 0, 0, 0, 0, 0})
		b.crash()
		time.Sleep(20 * time.Hour)
		equal(t, "they go", len(b.drain("stuck")), 6)
		settled()
		equal(t, "acks", h.of(rs...), []int{1, 1, 1, 1, 1, 1})
		equal(t, "acks that are owed", b.acks(), 0)
		b.stop()
	})
}
