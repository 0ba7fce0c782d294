package queue_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/queue"
)

// settled lets mark commits, sealing and releasing come to rest.
func settled() { time.Sleep(10 * time.Second); synctest.Wait() }

// segments counts them.
func (b *bench) segments() int { return len(b.st.Segments()) }

// Guarantees M2, B5, in part: finished segments go by themselves, whoever was last.
func TestSegmentsGoWhenTheyAreDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, named("a", "b")...)
		b.fill(400, 3000)
		settled()
		if n := b.segments(); n < 5 {
			t.Fatalf("%d segments", n)
		}
		b.drain("a")
		settled()
		if n := b.segments(); n < 5 {
			t.Fatalf("%d segments: b is owed them", n)
		}
		b.drain("b")
		settled()
		if n := b.segments(); n > 1 {
			t.Errorf("%d segments are left", n)
		}
		released := b.metric("released_total")
		if released < 300 || released > 400 {
			t.Errorf("%v items released", released)
		}
		b.restart()
		b.put("x")
		equal(t, "after a restart", b.drain("a", "b"), []string{"x", "x"})
		b.stop()
	})
}

// Guarantee G2, in part: a segment goes one commit after the one that freed it.
func TestSegmentGoesOneCommitAfterItIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBenchOf(t, lazily(named("a")...))
		b.fill(400, 3000)
		synctest.Wait() // all but the last are sealed
		n := b.segments()
		b.drain("a")
		b.flush()
		equal(t, "segments after the first commit", b.segments(), n)
		b.flush()
		if got := b.segments(); got >= n {
			t.Errorf("%d segments after the second commit", got)
		}
		b.stop()
	})
}

// Guarantee B6, in part: one stuck item, or a few dead letters, do not pin the disk.
func TestStuckItemDoesNotPinTheDisk(t *testing.T) {
	for what, o := range map[string]queue.Outcome{"retry": {Kind: queue.Retry, After: 2 * time.Hour, Err: "no"}, "dead letter": buried("no")} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, none("a", 10_000), none("b", 10_000))
				r, j := b.joined("stuck")
				j.Close()
				b.fill(400, 3000)
				b.settle("a", o, b.take("a", 1)...)
				b.drain("a", "b")
				settled()
				if n := b.segments(); n > 1 {
					t.Errorf("%d segments are pinned", n)
				}
				for _, again := range []func(){func() {}, b.restart, b.crash} {
					again()
					s, err := b.q.State(r.ID)
					b.ok(err)
					equal(t, "body", s.Size, 5)
					b.none("a")
				}
				if what == "retry" {
					time.Sleep(3 * time.Hour)
				} else {
					b.requeue(queue.DeadFilter{All: true})
				}
				equal(t, "in the end", b.drain("a"), []string{"stuck"})
				settled()
				_, err := b.q.State(r.ID)
				wantIs(t, err, queue.ErrReleased)
				b.stop()
			})
		})
	}
}

// Guarantee F3, in part: an orphan that is owed nothing pins nothing; one that is owed keeps its items.
func TestOrphanPinsOnlyWhatItIsOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, named("a", "empty")...)
		b.put("x")
		b.drain("a", "empty")
		b.Sinks = named("a")
		b.restart()
		b.fill(400, 3000)
		b.drain("a")
		settled()
		if n := b.segments(); n > 1 {
			t.Errorf("%d segments are pinned by an orphan that is owed nothing", n)
		}
		b.Sinks = named("a", "holding")
		b.restart()
		b.put("held")
		b.drain("a")
		b.Sinks = named("a")
		b.restart()
		b.fill(400, 3000)
		b.drain("a")
		settled()
		equal(t, "the orphan's", b.drain("holding"), []string{"held"})
		settled()
		if n := b.segments(); n > 1 {
			t.Errorf("%d segments are pinned", n)
		}
		b.stop()
	})
}

// Guarantee B9, in part: a sink that matches nothing pins nothing, though nobody settles for it.
func TestUnmatchedSinkPinsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := named("never")[0]
		never.Match = matchNothing
		b := newBench(t, named("a")[0], never)
		b.fill(400, 3000)
		b.drain("a")
		settled()
		if n := b.segments(); n > 1 {
			t.Errorf("%d segments are pinned", n)
		}
		b.stop()
	})
}

// An idle queue writes nothing, whatever it holds.
func TestIdleQueueWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, none("a", 100), named("nobody reads")[0])
		b.fill(100, 3000)
		ds := b.take("a", 30)
		b.settle("a", done, ds[:10]...)
		b.settle("a", queue.Outcome{Kind: queue.Retry, After: 365 * 24 * time.Hour, Err: strings.Repeat("e", 100)}, ds[11])
		b.settle("a", buried("no"), ds[12:20]...)
		b.feed("a").Return(ds[20])
		for _, again := range []func(){func() {}, b.restart} {
			again()
			settled()
			time.Sleep(3 * time.Hour) // after a quiet hour the segment with the last items ends
			before := b.st.Written()
			time.Sleep(30 * 24 * time.Hour)
			if n := b.st.Written() - before; n != 0 {
				t.Errorf("%d bytes were written in an idle month", n)
			}
		}
		b.stop()
	})
}
