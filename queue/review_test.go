package queue_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"holdfast/queue"
	"holdfast/store"
)

// Guarantee A4: whoever waits for a key looks again when the request that has claimed it gives up.
func TestWaiterForAKeyGoesOnWhenItsOwnerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, bounded("a", 1, queue.Block))
		b.put("fills the sink")
		brief, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { _, err := b.q.Put(brief, keyed("k", "body")); first <- err }()
		synctest.Wait()
		long, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() { _, err := b.q.Put(long, keyed("k", "body")); second <- err }()
		wantError[*queue.FullError](t, <-first)
		b.settle("a", done, b.take("a", 1)...)
		began := time.Now()
		if err := <-second; err != nil || time.Since(began) > time.Second {
			t.Errorf("it ended with %v after %v, and there was room all the time", err, time.Since(began))
		}
		b.stop()
	})
}

// Guarantee C6, in part: a queue that cannot be read for a moment costs another neither its rows nor its cursor.
func TestReadErrorOfOneQueueLosesNoRowOfAnother(t *testing.T) {
	o := lazily(named("a", "z")...)
	o.Handover = 1
	o.Sinks[0].Order = queue.None
	b := newBenchOf(t, o)
	b.fill(600, 1000) // several segments
	b.settle("a", done, b.take("a", 600)...)
	b.restart()
	b.put("precious")
	ds := b.take("a", 1)
	segments, err := filepath.Glob(filepath.Join(b.dir, "log", "*.log"))
	b.ok(err)
	b.ok(os.Rename(segments[0], segments[0]+".away")) // z has not read it yet
	b.settle("a", queue.Outcome{Kind: queue.Retry, After: time.Hour, Err: "503"}, ds...)
	b.ok(b.q.Pause(t.Context(), "a"))
	b.ok(os.Rename(segments[0]+".away", segments[0]))
	b.put("another")
	b.ok(b.q.Resume(t.Context(), "a"))
	b.crash()
	rows, err := b.st.Rows(1, 0, 10)
	b.ok(err)
	if len(rows) != 1 {
		t.Errorf("rows after the crash: %+v, and a gets %v", rows, texts(b.poll("a", 10)))
	}
}

// Guarantee D5, in part: a sink that is held by full dead letters goes on when they are old enough to be purged.
func TestHeldSinkGoesOnWhenItsDeadLettersExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := none("a", 10)
		s.Dead = queue.Dead{MaxBytes: 1, MaxAge: 10 * time.Minute}
		b := newBench(t, s)
		b.put("dead", "next")
		b.settle("a", buried("no"), b.take("a", 1)...)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		ds, err := b.feed("a").Next(ctx, nil, 1)
		b.ok(err)
		if after := time.Since(began); after < 10*time.Minute || after > 11*time.Minute {
			t.Errorf("%s came after %v", texts(ds), after)
		}
		b.settle("a", done, ds...)
		equal(t, "dead letters", b.status("a").Dead, 0)
		b.stop()
	})
}

// Guarantee E4: an item that nobody is owed is acked, too, if the process is killed before the next mark commit.
func TestAckOfAnItemThatNobodyWantsOutlivesACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		acked := make(chan uuid.UUID, 100)
		o := queue.Options{MarkDelay: time.Hour, OnAck: func(ids []uuid.UUID) {
			for _, id := range ids {
				acked <- id
			}
		}}
		b := newBenchOf(t, o)
		want := b.put("nobody wants it")[0].ID
		b.crash()
		if got := <-acked; got != want {
			t.Errorf("%s was acked, want %s", got, want)
		}
		b.stop()
	})
}

// Guarantee B6, in part: what was given back while its segment was emptied leaves it the next time.
func TestReturnedDeliveriesDoNotPinTheirSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sparse := none("a", 100)
		sparse.Match = func(a store.Attrs) bool { return a.Get("type") == "x" }
		b := newBench(t, sparse, none("b", 10_000))
		var ds []queue.Delivery
		for range 6 {
			_, err := b.request(queue.Request{Items: []queue.Item{{Attrs: store.MakeAttrs(map[string]string{"type": "x"}), Body: []byte("stuck")}}})
			b.ok(err)
			ds = append(ds, b.take("a", 1)...)
			b.fill(80, 3000)
			b.settle("b", done, b.take("b", 81)...)
		}
		time.Sleep(time.Minute)
		for _, d := range ds {
			b.feed("a").Return(d)
		}
		b.ok(b.q.Pause(t.Context(), "a"))
		time.Sleep(100 * time.Hour)
		if n := b.st.Usage().Segments; n > 2 {
			t.Errorf("%d segments are kept by six small items", n)
		}
		b.stop()
	})
}

// Guarantee B4, in part: a request that is refused ends nothing.
func TestRefusedRequestEvictsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, bounded("drops", 5, queue.DropOldest), bounded("buries", 5, queue.BuryOldest), bounded("blocks", 7, queue.Block))
		b.put("1", "2", "3", "4", "5")
		brief, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := b.q.Put(brief, queue.Request{Source: "http", Items: make([]queue.Item, 6)}) // never fits in two
		wantError[*queue.TooLargeError](t, err)
		_, err = b.q.Put(brief, queue.Request{Source: "http", Items: make([]queue.Item, 3)}) // does not fit now in the third
		wantFull(t, err, "blocks")
		for _, s := range []string{"drops", "buries"} {
			if got := b.status(s); got.Waiting != 5 || got.Dead != 0 {
				t.Errorf("%s: %d wait and %d are dead after requests that were refused", s, got.Waiting, got.Dead)
			}
		}
		b.stop()
	})
}

// Guarantee B4, in part: also what one producer pipelines is cut to the bound.
func TestBoundHoldsForWhatIsPipelined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, bounded("drops", 5, queue.DropOldest))
		var pending []*queue.Pending
		for range 12 {
			p, err := b.q.Submit(t.Context(), queue.Request{Source: "stream", Items: []queue.Item{{Body: []byte("x")}}})
			b.ok(err)
			pending = append(pending, p)
		}
		for _, p := range pending {
			_, err := p.Wait(t.Context())
			b.ok(err)
		}
		settled()
		equal(t, "waiting", b.status("drops").Waiting, 5)
		b.stop()
	})
}

// Guarantee C4, in part: the item that met an outage does not probe for all of them.
func TestHeldItemLetsOthersProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, none("a", 10))
		b.put("first", "second")
		b.settle("a", queue.Outcome{Kind: queue.Hold, After: 4 * time.Second, Err: "503"}, b.take("a", 1)...)
		time.Sleep(4 * time.Second)
		if got := texts(b.take("a", 1)); got[0] != "second" {
			t.Errorf("the next probe is %q", got[0])
		}
		b.stop()
	})
}
