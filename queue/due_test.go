package queue_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/queue"
)

var orders = map[string]queue.Order{"strict": queue.Strict, "key": queue.Key, "none": queue.None}

// later is an item that is not to go before this much from now.
func later(body string, after time.Duration) queue.Item {
	return queue.Item{Key: "k", Body: []byte(body), NotBefore: time.Now().Add(after)}
}

func plain(body string) queue.Item { return queue.Item{Key: "k", Body: []byte(body)} }

// mortal is an item with a time to live.
func mortal(body string, ttl time.Duration) queue.Item {
	return queue.Item{Key: "k", Body: []byte(body), TTL: ttl}
}

// Guarantee B8: not earlier, also over a stop and a crash; nothing behind it is delayed, in any order of hand-out; when it is
// due it takes its place.
func TestItemIsNotHandedOutBeforeItsTimeAndDelaysNobody(t *testing.T) {
	for name, order := range orders {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, queue.SinkOptions{Name: "a", Order: order})
				ids := b.accept(later("0", time.Hour), plain("1"), later("2", 2*time.Hour), plain("3"), later("4", 90*time.Minute))
				equal(t, "others pass", b.drain("a"), []string{"1", "3"})
				p := b.state(ids[0].ID, "a")
				if p.State != "not_due" || p.Attempts != 0 || time.Until(p.Next) != time.Hour {
					t.Errorf("%+v", p)
				}
				b.flush()
				for _, again := range []func(){b.crash, b.restart} {
					again()
					equal(t, "state", b.state(ids[0].ID, "a").State, "not_due")
					equal(t, "waiting", b.status("a").Waiting, 3)
					time.Sleep(30*time.Minute - time.Millisecond)
					b.none("a")
				}
				got, began := b.take("a", 1), time.Now() // it is woken at the time
				equal(t, "when it is due", texts(got), []string{"0"})
				if at := began.Sub(ids[0].Accepted); at != time.Hour {
					t.Errorf("it came after %v", at)
				}
				b.settle("a", done, got...)
				time.Sleep(2 * time.Hour)
				b.accept(plain("5"))
				equal(t, "by seq, whatever their times", b.drain("a"), []string{"2", "4", "5"})
				b.stop()
			})
		})
	}
}

// Guarantee B8: with order strict one that is due goes before what is behind it, and a retry holds it.
func TestItemThatIsDueTakesItsPlaceInStrictOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, named("a")...)
		b.accept(later("0", time.Minute), plain("1"), later("2", time.Minute), plain("3"))
		b.retry("a", time.Hour, b.take("a", 1)...)
		time.Sleep(10 * time.Minute)
		d := b.poll("a", 1)
		equal(t, "before the one that is retried", texts(d), []string{"0"})
		b.settle("a", done, d...)
		b.none("a")
		b.flush()
		b.crash()
		b.none("a")
		time.Sleep(50 * time.Minute)
		equal(t, "after it", b.drain("a"), []string{"1", "2", "3"})
		b.stop()
	})
}

// Guarantees B2, B8: one that was due and out at a crash is before those that were blocked behind it.
func TestItemThatWasDueKeepsItsPlaceInItsKeyAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBenchOf(t, lazily(byKey("a", 10)))
		b.accept(later("0", time.Minute), plain("1"), plain("2"))
		equal(t, "first", texts(b.poll("a", 10)), []string{"1"})
		b.flush()
		b.crash()
		d := b.poll("a", 10)
		time.Sleep(time.Minute)
		b.none("a")
		b.settle("a", done, d...)
		equal(t, "then", texts(b.poll("a", 10)), []string{"0"})
		b.flush()
		b.crash()
		equal(t, "after a crash", b.drain("a"), []string{"0", "2"})
		b.stop()
	})
}

// Guarantee B7: dropped when it would be handed out, whatever way it waits; counted, known after a start, and released.
func TestExpiredItemIsDroppedAtHandOut(t *testing.T) {
	for name, order := range orders {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, queue.SinkOptions{Name: "a", Order: order}, none("b", 100))
				b.put(strings.Repeat("too large to be evacuated", 200))
				b.drain("a")
				first, err := b.request(queue.Request{Join: true, Items: []queue.Item{mortal("0", time.Minute)}})
				b.ok(err)
				ids := append(first.Receipts, b.accept(plain("1"), mortal("2", 2*time.Minute), mortal("3", time.Hour), mortal("4", time.Hour))...)
				b.settle("b", done, b.take("b", 6)[1:]...) // but for what holds the segment
				time.Sleep(time.Minute - time.Millisecond)
				equal(t, "owed still", b.state(ids[0].ID, "a").State, "waiting")
				time.Sleep(time.Millisecond)
				d := b.take("a", 1)
				equal(t, "the next", texts(d), []string{"1"})
				b.wait(first.Join) // an expired bit is owed no longer
				b.retry("a", 5*time.Minute, d...)
				if order == queue.None {
					ds := b.poll("a", 10)
					equal(t, "passing", texts(ds), []string{"2", "3", "4"})
					b.retry("a", 0, ds[0])
					b.feed("a").Return(ds[2])
					b.settle("a", done, ds[1])
				}
				b.flush()
				b.crash()
				if order == queue.None { // of a row, and of what was given back
					d := b.poll("a", 10)
					equal(t, "in time still", texts(d), []string{"2", "4"})
					b.feed("a").Return(d[0])
					b.feed("a").Return(d[1])
				}
				time.Sleep(5 * time.Minute)
				want := map[queue.Order][]string{queue.Strict: {"1", "3", "4"}, queue.Key: {"1", "3", "4"}, queue.None: {"1", "4"}}[order]
				equal(t, "in the end", b.drain("a"), want)
				states := func() (got []string) {
					for _, r := range ids {
						got = append(got, b.state(r.ID, "a").State)
					}
					return got
				}
				wantStates := []string{"expired", "done", "expired", "done", "done"}
				equal(t, "states", states(), wantStates)
				equal(t, "settled since the start", []float64{b.metric("sink_settled_total", "a", "expired"), b.metric("sink_dropped_total", "a", "expired")}, []float64{1, 1})
				b.flush()
				for _, again := range []func(){b.crash, b.restart} {
					again()
					equal(t, "states after a start", states(), wantStates)
					b.none("a")
					equal(t, "waiting", b.status("a").Waiting, 0)
					if !b.complete(ids[0].ID) {
						t.Error("an expired item is owed")
					}
				}
				b.stop()
			})
		})
	}
}

// Guarantee B7: also what was given back, and what waits in the line of a key.
func TestExpiredItemIsDroppedWhereverItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, byKey("a", 10))
		b.accept(mortal("0", time.Minute), mortal("1", time.Minute), mortal("2", time.Hour), mortal("3", time.Minute))
		d := b.take("a", 1)
		b.none("a")
		time.Sleep(time.Minute)
		b.feed("a").Return(d[0])
		equal(t, "what is left", b.drain("a"), []string{"2"})
		b.none("a")
		equal(t, "books", []any{b.status("a").Waiting, b.status("a").InFlight, b.status("a").Dropped}, []any{0, 0, 3})
		b.stop()
	})
}

// Guarantee B7: expired items are released, and thousands of them hold nobody up.
func TestExpiredItemsAreReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, named("a")...)
		for range 40 {
			var items []queue.Item
			for range 50 {
				items = append(items, queue.Item{TTL: time.Minute, Body: make([]byte, 500)})
			}
			b.accept(items...)
		}
		settled()
		if n := b.segments(); n < 3 {
			t.Fatalf("%d segments", n)
		}
		time.Sleep(time.Minute)
		b.put("alive")
		equal(t, "the one that lives", texts(b.take("a", 1)), []string{"alive"})
		settled()
		if n := b.segments(); n > 1 {
			t.Errorf("%d segments are left", n)
		}
		equal(t, "expired", b.metric("sink_settled_total", "a", "expired"), 2000)
		b.stop()
	})
}

// Guarantees B7, G10, in part: a time to live goes on over a stop, by queue time.
func TestTimeToLiveGoesOnWhileStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, named("a")...)
		b.accept(mortal("0", time.Hour), mortal("1", 3*time.Hour))
		b.stop()
		time.Sleep(2 * time.Hour)
		b.start()
		equal(t, "left", b.drain("a"), []string{"1"})
		b.stop()
	})
}

// Guarantee C5: a Retry-After stands over a start, and an item with a key keeps its line meanwhile.
func TestRetryAfterHoldsTheKeyOverAStart(t *testing.T) {
	for what, again := range map[string]func(*bench){"restart": (*bench).restart, "crash": (*bench).crash} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, byKey("a", 10))
				ids := b.putKeys("a1", "b1", "a2")
				ds := b.poll("a", 10)
				b.settle("a", queue.Outcome{Kind: queue.Hold, After: time.Hour, Err: "429"}, ds[0])
				b.settle("a", queue.Outcome{Kind: queue.Retry, After: 2 * time.Hour, Err: "500"}, ds[1])
				b.none("a")
				b.flush()
				again(b)
				b.none("a")
				equal(t, "states", []any{b.state(ids[0].ID, "a").State, b.state(ids[1].ID, "a").Attempts, b.state(ids[2].ID, "a").State}, []any{"retrying", 1, "blocked"})
				s := b.status("a")
				if s.LastError != "429" || s.NextAttempt.IsZero() {
					t.Errorf("%+v", s)
				}
				time.Sleep(time.Hour - 2*time.Millisecond)
				b.none("a")
				time.Sleep(4 * time.Millisecond)
				equal(t, "on time", b.drain("a"), []string{"a1", "a2"})
				time.Sleep(time.Hour)
				d := b.take("a", 1)
				equal(t, "attempts", []any{texts(d), d[0].Attempts}, []any{[]string{"b1"}, 1})
				b.settle("a", done, d...)
				b.stop()
			})
		})
	}
}
