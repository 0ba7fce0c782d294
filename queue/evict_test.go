package queue_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"holdfast/queue"
)

// evicting is a sink with order none that makes room for what is new.
func evicting(name string, items int64, how queue.OnFull) queue.SinkOptions {
	return queue.SinkOptions{Name: name, Order: queue.None, Bounds: queue.Bounds{Items: new(items), OnFull: how}}
}

// Guarantee B4: drop_oldest drops and counts the oldest that is not out, of that sink alone, and that survives.
func TestDropOldestDropsTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, evicting("a", 3, queue.DropOldest), named("b")[0])
		began := time.Now()
		first, j := b.joined("0")
		b.put("1", "2")
		b.put("3", "4")
		b.put("5", "6", "7")
		if time.Since(began) != 0 {
			t.Error("it waited")
		}
		equal(t, "b", b.drain("b"), numbers(0, 8))
		b.wait(j)
		equal(t, "dropped", []float64{b.metric("sink_dropped_total", "a", "oldest"), b.metric("sink_settled_total", "a", "dropped")}, []float64{5, 5})
		equal(t, "waiting", b.status("a").Waiting, 3)
		b.put("b holds the segment")
		b.flush()
		for _, again := range []func(){func() {}, b.crash, b.restart} {
			again()
			equal(t, "state", b.state(first.ID, "a").State, "dropped")
			equal(t, "waiting", b.status("a").Waiting, 3)
		}
		equal(t, "a", b.drain("a"), []string{"6", "7", "b holds the segment"})
		b.stop()
	})
}

// Guarantee B4: whatever way the oldest waits, it is the oldest; what is out is left alone, and then goes over the bound.
func TestOldestIsFoundWhereverItWaits(t *testing.T) {
	for name, how := range map[string]queue.OnFull{"drop": queue.DropOldest, "bury": queue.BuryOldest} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := evicting("a", 6, how)
				o.Order = queue.Key
				b := newBench(t, o, named("pin")[0])
				ids := b.accept(later("not due", time.Hour), plain("out"), plain("blocked"), queue.Item{Body: []byte("retried")}, queue.Item{Body: []byte("returned")}, queue.Item{Body: []byte("requeued")})
				ds := b.poll("a", 10)
				equal(t, "out", texts(ds), []string{"out", "retried", "returned", "requeued"})
				b.settle("a", queue.Outcome{Kind: queue.Retry, After: time.Minute, Err: "first"}, ds[1])
				b.feed("a").Return(ds[2])
				b.settle("a", buried("no"), ds[3])
				b.flush()
				b.requeue(queue.DeadFilter{All: true})
				state := map[queue.OnFull]string{queue.DropOldest: "dropped", queue.BuryOldest: "dead"}[how]
				for n, want := range []int{0, 2, 3, 4, 5} {
					b.put(fmt.Sprint("new", n))
					for i, r := range ids {
						gone := i <= want && i != 1
						if got := b.state(r.ID, "a").State; (got == state) != gone {
							t.Errorf("after %d more, item %d is %s", n+1, i, got)
						}
					}
				}
				equal(t, "in flight", b.state(ids[1].ID, "a").State, "in_flight")
				b.flush()
				b.crash()
				for i, r := range ids {
					if got := b.state(r.ID, "a").State; (got == state) != (i != 1) {
						t.Errorf("after a crash, item %d is %s", i, got)
					}
				}
				if how == queue.BuryOldest {
					dead := b.deadOf("a")
					equal(t, "dead letters", len(dead), 5)
					for _, d := range dead {
						if d.LastError != "delivery failed: the sink is full" || d.Permanent {
							t.Errorf("%+v", d)
						}
					}
					equal(t, "attempts and first error stay", []any{dead[2].Attempts, dead[2].FirstError}, []any{1, "first"})
				}
				equal(t, "left", b.drain("a"), []string{"out", "new0", "new1", "new2", "new3", "new4"})
				b.stop()
			})
		})
	}
}

// Guarantee B4, in part: what is out is never ended; then as much may wait beyond the bound.
func TestWhatIsOutIsNotEvicted(t *testing.T) {
	b := newBench(t, evicting("a", 2, queue.DropOldest))
	b.put("0", "1")
	ds := b.take("a", 2)
	b.put("2", "3")
	equal(t, "waiting", b.status("a").Waiting, 4)
	b.put("4")
	equal(t, "2 and 3 go", b.status("a").Waiting, 3)
	b.settle("a", done, ds...)
	equal(t, "left", b.drain("a"), []string{"4"})
	_, err := briefly(b, "1", "2", "3")
	wantError[*queue.TooLargeError](t, err)
}

// Guarantee B4: dead_letter makes a dead letter of the oldest; with a bound of bytes as many go as make room.
func TestBuryOldestMakesDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := evicting("a", 0, queue.BuryOldest)
		o.Bounds.Items, o.Bounds.Bytes = nil, new(int64(100))
		b := newBench(t, o)
		ids := b.fill(10, 10)
		b.put(strings.Repeat("x", 35))
		for i, id := range ids {
			equal(t, fmt.Sprint("item ", i), b.state(id, "a").State == "dead", i < 4)
		}
		equal(t, "reasons", []float64{b.metric("sink_dead_total", "a", "full"), b.metric("sink_dead_total", "a", "exhausted"), b.metric("sink_settled_total", "a", "dead")}, []float64{4, 0, 4})
		b.flush()
		equal(t, "requeued", b.requeue(queue.DeadFilter{IDs: []uuid.UUID{ids[1]}}), 1) // goes over the bound
		equal(t, "waiting", b.status("a").WaitingBytes, 105)
		b.put("y")
		equal(t, "the requeued one again", b.state(ids[1], "a").State, "dead")
		equal(t, "waiting", b.status("a").WaitingBytes, 96)
		b.flush()
		b.crash()
		equal(t, "dead", b.status("a").Dead, 4)
		b.stop()
	})
}

// Guarantees B3, B4: many producers and lanes at a bound that evicts: nobody waits for ever, and the books balance.
func TestManyProducersAtABoundThatEvicts(t *testing.T) {
	b := newBench(t, evicting("drop", 5, queue.DropOldest), evicting("bury", 7, queue.BuryOldest), byKey("key", 8))
	var lanes, producers sync.WaitGroup
	ctx, cancel := patience()
	defer cancel()
	for _, s := range []string{"drop", "bury", "key"} {
		f := b.feed(s)
		lanes.Go(func() {
			for n := 0; ; n++ {
				ds, err := f.Next(ctx, nil, 3)
				if err != nil {
					return
				}
				for i, d := range ds {
					switch (n + i) % 4 {
					case 0:
						f.Return(d)
					case 1:
						f.Settle(d, queue.Outcome{Kind: queue.Retry, Err: "again"})
					default:
						f.Settle(d, done)
					}
				}
			}
		})
	}
	for p := range 4 {
		producers.Go(func() {
			for n := range 50 {
				a, err := b.q.Put(ctx, queue.Request{Join: true, Items: []queue.Item{{Key: fmt.Sprint(n % 3)}, {Key: fmt.Sprint(p)}, {}}})
				if err == nil {
					err = a.Join.Wait(ctx)
					a.Join.Close()
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	producers.Wait()
	cancel()
	lanes.Wait()
	for _, s := range b.q.Sinks() {
		if s.Waiting != 0 || s.InFlight != 0 || s.Settled != 600 {
			t.Errorf("%+v", s)
		}
	}
}

// Guarantees B4, D5, in part: while full dead letters hold the sink, nothing becomes one to make room: puts wait, as with
// block, until some are gone; and then not more go than there is room for.
func TestFullDeadLettersHoldPutsToo(t *testing.T) {
	for _, items := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			o := evicting("a", 3, queue.BuryOldest)
			o.Dead = queue.Dead{MaxBytes: 25}
			b := newBench(t, o, named("b")[0])
			b.fill(3, 10)
			b.fill(3, 10) // the first three die
			var bodies []string
			for i := range items {
				bodies = append(bodies, fmt.Sprintf("%-10s", fmt.Sprint("new", i)))
			}
			for range 3 {
				_, err := briefly(b, bodies...)
				wantFull(t, err, "a")
				equal(t, "books", []any{b.status("a").Waiting, b.status("a").DeadBytes, b.status("a").Held}, []any{3, 30, true})
				b.restart()
			}
			put := make(chan error, 1)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			go func() {
				_, err := b.q.Put(ctx, queue.Request{Source: "http", Items: make([]queue.Item, items)})
				put <- err
			}()
			synctest.Wait()
			equal(t, "one is purged", b.purge(queue.DeadFilter{IDs: []uuid.UUID{b.deadOf("a")[0].ID}}), 1)
			synctest.Wait()
			if items == 3 {
				equal(t, "one dies, and holds again", []any{b.status("a").Waiting, b.status("a").DeadBytes}, []any{2, 30})
				equal(t, "purged", b.purge(queue.DeadFilter{Sink: "a"}), 3)
			}
			b.ok(<-put)
			equal(t, "waiting", b.status("a").Waiting, 3)
			b.flush()
			b.purge(queue.DeadFilter{All: true})
			equal(t, "a", len(b.drain("a")), 3)
			b.stop()
		})
	}
}

// Guarantee D5, in part: full dead letters hold the sink, and that alone, until there is room; what is out may still die.
func TestFullDeadLettersHoldTheSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := none("a", 100)
		o.Dead = queue.Dead{MaxBytes: 30}
		b := newBench(t, o, named("b")[0])
		b.fill(8, 10)
		ds := b.poll("a", 4)
		b.settle("a", buried("no"), ds[:2]...)
		b.flush()
		ds = append(ds[2:], b.poll("a", 1)...)
		b.settle("a", buried("no"), ds[0])
		b.none("a")
		b.settle("a", buried("no"), ds[1])
		b.retry("a", 0, ds[2])
		b.none("a")
		equal(t, "b", len(b.drain("b")), 8)
		b.flush()
		for _, again := range []func(){b.crash, b.restart} {
			again()
			b.none("a")
			equal(t, "books", []any{b.status("a").Waiting, b.status("a").Dead, b.status("a").DeadBytes}, []any{4, 4, 40})
		}
		woken := make(chan []queue.Delivery)
		go func() { woken <- b.take("a", 4) }()
		synctest.Wait()
		dead := b.deadOf("a")
		equal(t, "purged", b.purge(queue.DeadFilter{IDs: []uuid.UUID{dead[0].ID, dead[1].ID}}), 2)
		got := <-woken
		equal(t, "it goes on", texts(got), numbers(4, 8))
		b.settle("a", done, got...)
		b.stop()
	})
}

// Guarantee D5: with purge_oldest the oldest go, and are counted and known.
func TestFullDeadLettersPurgeTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := none("a", 100)
		o.Dead = queue.Dead{MaxBytes: 30, OnFull: queue.PurgeOldest}
		b := newBench(t, o)
		ids := b.fill(8, 10)
		for _, d := range b.take("a", 7) {
			b.settle("a", buried("no"), d)
			settled()
		}
		for i, id := range ids[:7] {
			want := "dead"
			if i < 4 {
				want = "purged"
			}
			equal(t, fmt.Sprint("item ", i), b.state(id, "a").State, want)
		}
		equal(t, "books", []any{b.status("a").Dead, b.status("a").DeadBytes, len(b.deadOf("a"))}, []any{3, 30, 3})
		equal(t, "it is not held", b.drain("a"), []string{"7"})
		b.stop()
	})
}

// Guarantee D5: dead letters go at their age, by queue time, whether or not anything happens.
func TestDeadLettersGoAtTheirAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := none("a", 100)
		o.Dead = queue.Dead{MaxAge: 24 * time.Hour}
		b := newBench(t, o)
		b.fill(3, 10)
		ds := b.take("a", 3)
		b.settle("a", buried("no"), ds[0])
		time.Sleep(12 * time.Hour)
		b.settle("a", buried("no"), ds[1])
		b.flush()
		b.crash()
		time.Sleep(11 * time.Hour)
		b.flush()
		equal(t, "before", b.status("a").Dead, 2)
		time.Sleep(3 * time.Hour)
		equal(t, "after a day", len(b.deadOf("a")), 1)
		time.Sleep(12 * time.Hour)
		equal(t, "after two", len(b.deadOf("a")), 0)
		equal(t, "the other is owed", b.drain("a"), []string{"2"})
		b.stop()
	})
}

// BenchmarkEvict is puts of 1,000 items that each end the oldest of 90,000 that wait behind one key.
func BenchmarkEvict(b *testing.B) {
	q := newSpeedBench(b, queue.Options{Sinks: []queue.SinkOptions{{Name: "a", Order: queue.Key, Bounds: queue.Bounds{Items: new(int64(90_000)), OnFull: queue.DropOldest}}}})
	r := queue.Request{Source: "http", Items: make([]queue.Item, 1000)}
	for i := range r.Items {
		r.Items[i].Key = "k"
	}
	for range 90 {
		if _, err := q.q.Put(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
	q.take("a", 1)
	for range 100 {
		q.none("a") // the others go behind their key
	}
	b.ResetTimer()
	for b.Loop() {
		if _, err := q.q.Put(b.Context(), r); err != nil {
			b.Fatal(err)
		}
		q.none("a")
	}
}
