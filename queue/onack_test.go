package queue_test

import (
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"holdfast/queue"
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

// Guarantee E4: at least once, also over a crash between the last mark and the hook's return; the segment stays until then.
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
		if n := b.segments(); n < 4 {
			t.Errorf("%d segments: acks of all are owed", n)
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
			if _, err := q.Requeue(ctx, queue.DeadFilter{All: true}); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	for range 8 {
		h.mu.Lock()
		called := maps.Clone(h.calls)
		h.mu.Unlock()
		moments = append(moments, moment{b.image(), called})
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
