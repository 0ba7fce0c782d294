package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"holdfast/queue"
	"holdfast/store"
)

// Guarantees G1, E3, in part: killed at any instant while lanes settle at random, every accepted item reaches each of
// its sinks at least once, what was durably settled is not sent again, and a repeat has the same id.
func TestKilledProcessLosesNothingDurable(t *testing.T) {
	sinks := []queue.SinkOptions{none("a", 32), none("b", 8), {Name: "c"}}
	o := queue.Options{Sinks: sinks, MarkDelay: 3 * time.Millisecond, MarkEvery: 64, Handover: 10 << 10}
	b := newBenchOf(t, o)
	type key struct {
		sink string
		id   uuid.UUID
	}
	var mu sync.Mutex
	seen := map[key]int{}
	acked := map[uuid.UUID]bool{}
	for round := range 6 {
		rng := rand.New(rand.NewPCG(uint64(round), 7))
		ctx, cancel := context.WithCancel(t.Context())
		q := b.q
		var wg sync.WaitGroup
		for _, s := range sinks {
			f := b.feed(s.Name)
			seed := rng.Uint64()
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(seed, 1))
				for {
					ds, err := f.Next(ctx, nil, 1+rng.IntN(8))
					if err != nil {
						return
					}
					for _, d := range ds {
						switch rng.IntN(10) {
						case 0:
							f.Settle(d, queue.Outcome{Kind: queue.Retry})
						case 1:
							f.Settle(d, queue.Outcome{Kind: queue.Hold})
						case 2:
							f.Return(d)
						default:
							mu.Lock()
							seen[key{s.Name, d.ID}]++
							mu.Unlock()
							f.Settle(d, done)
						}
					}
				}
			})
		}
		for p := range 2 {
			wg.Go(func() {
				for n := 0; n < 150 && ctx.Err() == nil; n++ {
					a, err := q.Put(context.Background(), queue.Request{Items: []queue.Item{{Body: make([]byte, 500)}, {Body: fmt.Append(nil, p, n)}}})
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					for _, r := range a.Receipts {
						acked[r.ID] = true
					}
					mu.Unlock()
				}
			})
		}
		var at map[uuid.UUID]bool
		var m image
		for ready := false; !ready; {
			mu.Lock()
			at = map[uuid.UUID]bool{}
			for id := range acked {
				at[id] = true
			}
			ready = len(acked) > 200*round+20
			mu.Unlock()
			m = b.image()
		}
		cancel()
		wg.Wait()
		b.revive(m)
		acked = at // what was answered after the image was taken is not in it
		for id := range at {
			s, err := b.q.State(id)
			if errors.Is(err, queue.ErrReleased) {
				s.Complete = true
			} else if err != nil {
				t.Fatalf("round %d: an answered item: %v", round, err)
			}
			for _, p := range s.Sinks {
				if p.State == "done" && seen[key{p.Sink, id}] == 0 {
					t.Fatalf("round %d: sink %s never had an item that is done", round, p.Sink)
				}
			}
		}
	}
	for _, s := range sinks {
		ds := b.poll(s.Name, 1)
		for ; len(ds) > 0; ds = b.poll(s.Name, 100) {
			for _, d := range ds {
				seen[key{s.Name, d.ID}]++
				b.settle(s.Name, done, d)
			}
		}
		for id := range acked {
			if seen[key{s.Name, id}] == 0 {
				t.Errorf("sink %s never had an answered item", s.Name)
			}
		}
	}
}

// Guarantee G1, in part: repeats are what was not marked, and no more.
func TestRepeatsAreWhatWasNotMarked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBenchOf(t, queue.Options{Sinks: []queue.SinkOptions{none("a", 1000)}, MarkDelay: time.Second, MarkEvery: 50})
		b.fill(200, 10)
		b.settle("a", done, b.take("a", 30)...)
		time.Sleep(1001 * time.Millisecond)
		b.settle("a", done, b.take("a", 15)...)
		time.Sleep(998 * time.Millisecond)
		b.crash()
		equal(t, "after less than mark_delay", b.take("a", 1)[0].Item.Seq, 31)
		b.restart()
		ds := b.take("a", 60)
		b.settle("a", done, ds[:49]...)
		synctest.Wait()
		b.settle("a", done, ds[49])
		synctest.Wait() // the fiftieth is marked at once
		b.settle("a", done, ds[50:]...)
		b.crash()
		equal(t, "after mark_every", b.take("a", 1)[0].Item.Seq, 31+50)
		b.stop()
	})
}

// Guarantee G3, in part: a stop in order marks all that was settled.
func TestStopMarksWhatWasSettled(t *testing.T) {
	b := newBenchOf(t, lazily(none("a", 100)))
	b.fill(10, 10)
	ds := b.take("a", 5)
	b.settle("a", done, ds[0], ds[2], ds[3])
	b.restart()
	equal(t, "left", b.drain("a"), []string{"1", "4", "5", "6", "7", "8", "9"})
	if b.st.Tail().Unclean {
		t.Error("the stop was not in order")
	}
}

// Guarantee G7.
func TestGaugesAreRightRightAfterAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, none("a", 100), none("b", 100), named("c")[0])
		began := time.Now()
		for n := range 6 {
			b.put(fmt.Sprintf("%-*d", 10*(n+1), n))
			time.Sleep(time.Second)
		}
		ds := b.take("a", 4)
		b.settle("a", done, ds[0], ds[3])
		b.settle("a", queue.Outcome{Kind: queue.Retry, After: time.Hour}, ds[1])
		b.settle("a", buried("no"), ds[2])
		b.bury("b", "no")
		b.flush()
		b.requeue(queue.DeadFilter{Sink: "b", IDs: []uuid.UUID{ds[2].ID}})
		b.drain("c")
		b.flush()
		type gauges struct {
			waiting, bytes, dead, deadBytes int64
			oldest                          time.Duration
			inFlight                        int
		}
		want := map[string]gauges{
			"a": {3, 20 + 50 + 60, 1, 30, time.Second, 0},
			"b": {1, 30, 5, 10 + 20 + 40 + 50 + 60, 2 * time.Second, 0},
			"c": {},
		}
		for what, again := range map[string]func(){"running": func() {}, "restart": b.restart, "crash": b.crash} {
			again()
			now := time.Now()
			for s, w := range want {
				st := b.status(s)
				got := gauges{st.Waiting, st.WaitingBytes, st.Dead, st.DeadBytes, 0, st.InFlight}
				if !st.Oldest.IsZero() {
					got.oldest = st.Oldest.Sub(began)
				}
				equal(t, what+" "+s, got, w)
				equal(t, what+" "+s+" metrics", []float64{
					b.metric("sink_waiting", s), b.metric("sink_waiting_bytes", s), b.metric("sink_dead_items", s), b.metric("sink_in_flight", s),
				}, []float64{float64(w.waiting), float64(w.bytes), float64(w.dead), 0})
				age := 0.0
				if w.waiting > 0 {
					age = now.Sub(began.Add(w.oldest)).Seconds()
				}
				equal(t, what+" "+s+" age", b.metric("sink_oldest_age_seconds", s), age)
			}
		}
		b.stop()
	})
}

// Guarantee G4, in part: a store that fails ends the run with a fatal error, and nobody is told that it went well. Every
// write to a store that was closed fails.
func TestFailingStoreEndsTheRun(t *testing.T) {
	put := func(b *bench) *queue.Pending {
		p, err := b.q.Submit(context.Background(), queue.Request{Join: true, Items: []queue.Item{{}}})
		b.ok(err)
		return p
	}
	for what, fail := range map[string]func(b *bench, stop func()) *queue.Pending{
		"an append":       func(b *bench, _ func()) *queue.Pending { b.ok(b.st.Close()); return put(b) },
		"the last append": func(b *bench, stop func()) *queue.Pending { p := put(b); b.ok(b.st.Close()); stop(); return p },
		"a mark": func(b *bench, _ func()) *queue.Pending {
			ds := b.take("a", 1)
			b.ok(b.st.Close())
			b.settle("a", done, ds...)
			return nil
		},
		"the last mark": func(b *bench, stop func()) *queue.Pending {
			ds := b.take("a", 1)
			b.ok(b.st.Close())
			b.settle("a", done, ds...)
			stop()
			return nil
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBenchOf(t, queue.Options{Sinks: named("a"), MarkDelay: time.Second, CommitDelay: time.Second})
				id := b.put("x")[0].ID
				j, err := b.q.Join(id)
				b.ok(err)
				if p := fail(b, b.cancel); p != nil {
					_, err := p.Wait(t.Context())
					wantIs(t, err, queue.ErrUncertain)
				}
				wantError[*store.FatalError](t, <-b.ended)
				b.ended = nil
				wantIs(t, j.Wait(t.Context()), queue.ErrStopping)
				_, err = b.request(queue.Request{Items: []queue.Item{{}}})
				wantIs(t, err, queue.ErrStopping)
				b.start()
				equal(t, "owed", b.state(id, "a").State, "waiting")
				b.stop()
			})
		})
	}
}

// Guarantee G6, in part: damage is told by the feed that comes to it, and to nobody else.
func TestDamageIsToldByItsFeedAndDisturbsNobodyElse(t *testing.T) {
	b := newBenchOf(t, queue.Options{Sinks: named("a", "b"), Handover: 1, MarkDelay: time.Millisecond})
	b.fill(200, 3000)
	b.stop()
	paths, err := filepath.Glob(filepath.Join(b.dir, "log", "*.log"))
	b.ok(err)
	data, err := os.ReadFile(paths[0])
	b.ok(err)
	i := strings.Index(string(data), "50  ")
	data[i] ^= 1
	b.ok(os.WriteFile(paths[0], data, 0o600))
	b.start()
	ctx, cancel := patience()
	defer cancel()
	for f := b.feed("a"); ; {
		ds, err := f.Next(ctx, nil, 1)
		if err != nil {
			wantError[*store.DamageError](t, err)
			break
		}
		f.Settle(ds[0], done)
	}
	b.put("still accepted")
	b.ok(b.q.Pause(ctx, "b"))
	b.stop()
}
