package dispatcher

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/queue"
	"holdfast/sinks"
	"holdfast/store"
)

// sized is a feed whose items have bodies of these sizes.
func sized(strict bool, sizes ...int) *fakeFeed {
	f := newFeed(strict, len(sizes))
	for i, n := range sizes {
		f.items[i].d.Item.Body = make([]byte, n)
	}
	return f
}

// numbers tells which items these are.
func numbers(items []sinks.Item) (list []int) {
	for _, it := range items {
		list = append(list, number(it))
	}
	return list
}

// batches is a book of the batches that a sink was given.
type batches struct {
	mu   sync.Mutex
	list []string
}

func (b *batches) note(start time.Time, items []sinks.Item) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, fmt.Sprint(time.Since(start), numbers(items)))
}

func (b *batches) expect(t *testing.T, want ...string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if diff := cmp.Diff(want, b.list); diff != "" {
		t.Error(diff)
	}
}

// Guarantee C8, in part: the limits.
func TestBatchIsAsLargeAsItsLimits(t *testing.T) {
	for _, tt := range []struct {
		b     Batch
		sizes []int
		want  int
	}{
		{Batch{Items: 1}, []int{1, 1}, 1},
		{Batch{Items: 3}, nil, 0},
		{Batch{Items: 3}, []int{1 << 20, 1 << 20}, 2},
		{Batch{Items: 3}, []int{1, 1, 1, 1}, 3},
		{Batch{Items: 9, Bytes: 10}, []int{4, 6, 1}, 2},
		{Batch{Items: 9, Bytes: 10}, []int{4, 7}, 1},
		{Batch{Items: 9, Bytes: 10}, []int{11, 1}, 1},
		{Batch{Items: 9, Bytes: 10}, []int{0, 0, 10, 0, 1}, 4},
	} {
		var list []queue.Delivery
		for _, n := range tt.sizes {
			list = append(list, queue.Delivery{Item: &store.Item{Body: make([]byte, n)}})
		}
		if got := tt.b.within(list); got != tt.want {
			t.Errorf("%+v of %v: %d, want %d", tt.b, tt.sizes, got, tt.want)
		}
	}
}

// Guarantees B2, C8, in part: no batch exceeds its limits, one larger item goes alone, and strict order is kept.
func TestBatchesKeepTheirLimitsInEveryOrder(t *testing.T) {
	for name, s := range map[string]Sink{
		"strict":           {Batch: Batch{Items: 8, Bytes: 100}},
		"strict and waits": {Batch: Batch{Items: 8, Bytes: 100, Wait: time.Second}},
		"strict and slow":  {Batch: Batch{Items: 8, Bytes: 100}, Timeout: time.Minute},
		"none":             {Batch: Batch{Items: 8, Bytes: 100}, Concurrency: 3},
		"none and waits":   {Batch: Batch{Items: 8, Bytes: 100, Wait: time.Second}, Concurrency: 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(3, 4))
				sizes := make([]int, 400)
				for i := range sizes {
					sizes[i] = rnd.IntN(40)
					if rnd.IntN(20) == 0 {
						sizes[i] = 101 + rnd.IntN(200)
					}
				}
				var mu sync.Mutex
				var done []int
				calls := 0
				strict := s.Concurrency == 0
				feed := sized(strict, sizes...)
				s := s
				s.Name, s.Feed = "s", feed
				s.Sink = sinkFunc(func(_ context.Context, items []sinks.Item) error {
					if s.Timeout > 0 {
						time.Sleep(time.Second)
					}
					mu.Lock()
					defer mu.Unlock()
					size := 0
					for _, it := range items {
						size += len(it.Body)
					}
					if len(items) > 8 || size > 100 && len(items) > 1 {
						t.Errorf("a batch of %d items and %d bytes", len(items), size)
					}
					calls++
					done = append(done, numbers(items)...)
					return nil
				})
				r := start(t, Options{}, s)
				after(time.Hour)
				r.end()
				if len(done) != 400 || strict && !slices.IsSorted(done) || feed.count(queue.Done) != 400 {
					t.Errorf("%d done, sorted %v", len(done), slices.IsSorted(done))
				}
				if calls > 160 {
					t.Errorf("%d batches", calls)
				}
			})
		})
	}
}

// Guarantee C8, in part: a partial batch waits no longer than Batch.Wait, a full one not at all.
func TestPartialBatchWaitsNoLongerThanItsWait(t *testing.T) {
	fresh := func(strict, deaf bool) *fakeFeed { f := newFeed(strict, 0); f.deaf = deaf; return f }
	for name, tt := range map[string]struct {
		feed    *fakeFeed
		workers int
		wait    time.Duration
		want    []string
	}{
		"strict":  {fresh(true, false), 1, 5 * time.Second, []string{"6s [0 1 2]", "11s [3 4 5 6]", "16s [7]"}},
		"none":    {fresh(false, false), 3, 5 * time.Second, []string{"6s [0 1 2]", "11s [3 4 5 6]", "16s [7]"}},
		"no wait": {fresh(true, false), 1, 0, []string{"1s [0]", "2s [1]", "3s [2]", "11s [3 4 5 6]", "11s [7]"}},
		"a feed that does not go on behind a batch": {fresh(true, true), 1, 5 * time.Second, []string{"6s [0]", "11s [1 2]", "11s [3 4 5 6]", "16s [7]"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var book batches
				tt.feed.wake = make(chan struct{}, 1) // of this bubble
				r := start(t, Options{}, Sink{Name: "s", Feed: tt.feed, Concurrency: tt.workers, Batch: Batch{Items: 4, Wait: tt.wait},
					Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error { book.note(began, items); return nil })})
				for i := range 3 {
					after(time.Second)
					tt.feed.add(i)
				}
				after(8 * time.Second)
				addAll(tt.feed, 3, 8)
				after(time.Minute)
				book.expect(t, tt.want...)
				r.end()
			})
		})
	}
}

// addAll adds items from to end, accepted now, so that no hand-out comes in between.
func addAll(f *fakeFeed, from, end int) {
	more := newFeed(f.strict, 0)
	for i := from; i < end; i++ {
		more.add(i)
		more.items[i-from].d.Item.Time = time.Now().UnixMilli()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.items = append(f.items, more.items...)
	f.poke()
}

// Guarantee C8, in part: the bytes of a batch that waits count while it does.
func TestBatchThatIsFullByItsBytesWaitsNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var book batches
		feed := sized(true, 40, 60, 30, 80)
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Batch: Batch{Items: 9, Bytes: 100, Wait: 5 * time.Second},
			Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error { book.note(began, items); return nil })})
		after(time.Minute)
		book.expect(t, "0s [0 1]", "0s [2]", "5s [3]")
		r.end()
	})
}

// Guarantees B2, C8, in part: a retry goes when it is due, with what there is; the wait is for what is fresh.
func TestRetryIsNotPutOffByABatch(t *testing.T) {
	for name, strict := range map[string]bool{"strict": true, "none": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var book batches
				feed := newFeed(strict, 1)
				r := start(t, Options{}, Sink{Name: "s", Feed: feed, Batch: Batch{Items: 4, Wait: 10 * time.Second}, Retry: &Retry{MaxRetries: 5, Base: 3 * time.Second, Max: time.Hour},
					Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
						book.note(began, items)
						each := make([]error, len(items))
						for i, it := range items {
							if number(it) == 0 && it.Attempt < 3 {
								each[i] = errTest
							}
						}
						if slices.Contains(each, errTest) {
							return &sinks.BatchError{Errs: each}
						}
						return nil
					})})
				after(11 * time.Second)
				feed.add(1)
				after(time.Minute)
				second := "13s [1 0]" // the retry joins a batch that waits, and ends its wait
				if strict {
					second = "13s [0 1]"
				}
				book.expect(t, "10s [0]", second, "19s [0]")
				r.end()
			})
		})
	}
}

// Guarantees C8, C10, in part: a stop ends the wait of a batch, which goes back whole.
func TestStopCutsTheWaitOfABatch(t *testing.T) {
	for _, workers := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			feed := newFeed(workers == 1, 3)
			r := start(t, Options{}, Sink{Name: "s", Feed: feed, Concurrency: workers, Batch: Batch{Items: 4, Wait: time.Hour},
				Sink: sinkFunc(func(context.Context, []sinks.Item) error { t.Error("an attempt"); return nil })})
			after(time.Minute)
			if _, out := feed.unsettled(); out != 3 {
				t.Errorf("%d in the batch", out)
			}
			if took := r.end(); took != 0 {
				t.Errorf("stopping took %v", took)
			}
			if waiting, out := feed.unsettled(); waiting != 3 || out != 0 || feed.items[0].returned != 1 {
				t.Errorf("%d waiting, %d out", waiting, out)
			}
		})
	}
}

func TestFeedThatFailsWhileABatchWaitsStopsTheDispatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := newFeed(true, 2)
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Batch: Batch{Items: 4, Wait: time.Hour}, Sink: sinkFunc(func(context.Context, []sinks.Item) error { return nil })})
		after(time.Second)
		feed.mu.Lock()
		feed.err = errTest
		feed.poke()
		feed.mu.Unlock()
		if err := <-r.done; err == nil {
			t.Error("no error")
		}
		if _, out := feed.unsettled(); out != 0 {
			t.Errorf("%d out", out)
		}
	})
}

// Guarantee C8, in part: poison items are found, each by itself and soon, while other workers go on with full batches;
// the others are delivered without an attempt lost, and the retries of what was found break no batch.
func TestPoisonItemsAreFoundWhileOthersDeliver(t *testing.T) {
	for name, s := range map[string]Sink{
		"strict":  {Feed: newFeed(true, 0)},
		"waits":   {Feed: newFeed(true, 0), Batch: Batch{Wait: time.Second}},
		"none":    {Feed: newFeed(false, 0), Concurrency: 4},
		"limited": {Feed: newFeed(false, 0), Concurrency: 4, Rate: &Rate{PerSecond: 2000, Burst: 64}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 1600
				poison := []int{0, 77, 78, 1500}
				feed := newFeed(s.Concurrency == 0, n)
				var broken, singles atomic.Int64
				s := s
				s.Name, s.Feed, s.Batch.Items = "s", feed, 64
				s.Retry = &Retry{MaxRetries: 3, Base: 30 * time.Millisecond, Max: time.Second}
				s.Sink = sinkFunc(func(_ context.Context, items []sinks.Item) error {
					time.Sleep(time.Duration(1+number(items[0])%7) * time.Millisecond)
					if !slices.ContainsFunc(items, func(it sinks.Item) bool { return slices.Contains(poison, number(it)) }) {
						return nil
					}
					if len(items) > 1 {
						broken.Add(1)
					} else {
						singles.Add(1)
					}
					return errTest
				})
				r := start(t, Options{}, s)
				after(time.Minute)
				for i := range n {
					want := []queue.OutcomeKind{queue.Done}
					if slices.Contains(poison, i) {
						want = []queue.OutcomeKind{queue.Retry, queue.Retry, queue.Retry, queue.Bury}
					}
					if diff := cmp.Diff(want, feed.kinds(i)); diff != "" {
						t.Errorf("item %d: %s", i, diff)
					}
				}
				if broken.Load() > 6*int64(len(poison)) || singles.Load() != 4*int64(len(poison)) {
					t.Errorf("%d batches failed, and %d single items", broken.Load(), singles.Load())
				}
				if n := len(r.lanes[0].suspects); n != 0 {
					t.Errorf("%d suspects are left", n)
				}
				r.end()
			})
		})
	}
}

// Guarantee C8, in part: a poison item in a sink that makes several requests of a batch costs the others no attempt,
// neither those that went with it nor those that were not tried for it, and is no outage.
func TestPoisonItemIsFoundAmongSeveralRequestsOfABatch(t *testing.T) {
	for name, strict := range map[string]bool{"strict": true, "none": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n, poison = 64, 21
				feed := newFeed(strict, n)
				for i, it := range feed.items {
					if it.d.Item.Body = []byte("line"); i%10 == 9 {
						it.d.Item.Body = []byte("two\nlines") // goes alone, between groups
					}
				}
				post := func(items []sinks.Item) error {
					if slices.Contains(numbers(items), poison) {
						return errTest
					}
					return nil
				}
				untried := sinks.Unavailable(fmt.Errorf("s: %w", sinks.ErrUntried))
				r := start(t, Options{}, Sink{Name: "s", Feed: feed, Batch: Batch{Items: n}, Retry: exact,
					Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
						return sinks.InTurn(sinks.Groups(items, true), post, untried)
					})})
				after(time.Minute)
				for i := range n {
					want := []queue.OutcomeKind{queue.Done}
					if i == poison {
						want = []queue.OutcomeKind{queue.Retry, queue.Retry, queue.Retry, queue.Bury}
					}
					if diff := cmp.Diff(want, feed.kinds(i)); diff != "" {
						t.Errorf("item %d: %s", i, diff)
					}
				}
				if diff := cmp.Diff([]string{"WARN dead letter"}, r.log.all()); diff != "" {
					t.Error(diff)
				}
				r.end()
			})
		})
	}
}

// What a sink did not try at all it cannot have found alive: it is held, and the lane does not spin.
func TestBatchOfWhichNothingWasTriedIsAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		untried := sinks.Unavailable(sinks.ErrUntried)
		r := start(t, Options{}, Sink{Name: "s", Feed: newFeed(true, 2), Batch: Batch{Items: 2},
			Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
				calls.Add(1)
				return &sinks.BatchError{Errs: slices.Repeat([]error{untried}, len(items))}
			})})
		after(9 * time.Second)
		if s := r.Status()[0]; s.State != Down || calls.Load() != 2 {
			t.Errorf("%d calls, status %+v", calls.Load(), s)
		}
		r.end()
	})
}

// Guarantee B2, in part: key. Whatever fails, no two items of one key are out at once, and each key is in order.
func TestItemsOfAKeyKeepTheirOrder(t *testing.T) {
	for name, b := range map[string]Batch{"single": {}, "batch": {Items: 8}, "waits": {Items: 8, Wait: 50 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n, keys = 600, 7
				feed := newFeed(false, n)
				feed.byKey = true
				for i, it := range feed.items {
					it.d.Item.Key = string(rune('a' + i%keys))
				}
				var mu sync.Mutex
				rnd := rand.New(rand.NewPCG(5, 6))
				flying, done := map[string]bool{}, map[string][]int{}
				r := start(t, Options{}, Sink{Name: "s", Feed: feed, Concurrency: 4, Batch: b, Retry: &Retry{MaxRetries: -1, Base: time.Millisecond, Max: time.Second}, Breaker: Breaker{Failures: 9},
					Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
						mu.Lock()
						for _, it := range items {
							if flying[it.Key] {
								t.Error("two of one key at once")
							}
							flying[it.Key] = true
						}
						verdict := rnd.IntN(8)
						mu.Unlock()
						time.Sleep(time.Duration(verdict) * time.Millisecond)
						mu.Lock()
						defer mu.Unlock()
						each := make([]error, len(items))
						for i, it := range items {
							flying[it.Key] = false
							if verdict == 0 || verdict == 1 && i%2 == 0 {
								each[i] = errTest
								continue
							}
							if verdict != 2 && verdict != 3 {
								done[it.Key] = append(done[it.Key], number(it))
							}
						}
						switch verdict {
						case 0:
							return errTest
						case 1:
							return &sinks.BatchError{Errs: each}
						case 2:
							return sinks.Unavailable(errTest)
						case 3:
							panic("oh")
						}
						return nil
					})})
				after(24 * time.Hour)
				total := 0
				for key, list := range done {
					total += len(list)
					if !slices.IsSorted(list) {
						t.Errorf("key %s: %v", key, list)
					}
				}
				if total != n || feed.count(queue.Done) != n {
					t.Errorf("%d done", total)
				}
				r.end()
			})
		})
	}
}

// Guarantee C8, in part: the parts of a batch that failed do not wait a second time.
func TestSearchForPoisonDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var book batches
		r := start(t, Options{}, Sink{Name: "s", Feed: newFeed(true, 4), Batch: Batch{Items: 8, Wait: 5 * time.Second}, Retry: &Retry{},
			Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
				book.note(began, items)
				if slices.Contains(numbers(items), 2) {
					return errTest
				}
				return nil
			})})
		after(time.Minute)
		book.expect(t, "5s [0 1 2 3]", "5s [0 1]", "5s [2 3]", "5s [2]", "5s [3]")
		r.end()
	})
}

func TestSuspectsGoOnlyWithTheirLike(t *testing.T) {
	var list []queue.Delivery
	for i := range 8 {
		list = append(list, queue.Delivery{ID: itemID(i)})
	}
	s := suspects{}
	if n := s.alike(list); n != 8 {
		t.Errorf("without suspects %d go", n)
	}
	s.halve(list[:6])
	for _, tt := range []struct{ from, want int }{{0, 3}, {4, 2}, {6, 2}} {
		if n := s.alike(list[tt.from:]); n != tt.want {
			t.Errorf("from %d: %d go, want %d", tt.from, n, tt.want)
		}
	}
	s.halve(list[:3])
	if s.alike(list) != 1 || s.alike(list[1:]) != 1 || s.alike(list[3:]) != 3 {
		t.Error("three are not halved to one")
	}
	s.clear(list)
	if len(s) != 0 {
		t.Errorf("%d are left", len(s))
	}
	for i := range maxSuspects + 100 {
		s.halve([]queue.Delivery{{ID: itemID(2 * i)}, {ID: itemID(2*i + 1)}})
	}
	if len(s) > maxSuspects+2 {
		t.Errorf("%d are remembered", len(s))
	}
}

func TestSuspectEndsTheWaitWhereverItStands(t *testing.T) {
	s, err := Sink{Name: "s", Feed: newFeed(true, 0), Sink: sinkFunc(nil), Batch: Batch{Items: 4, Wait: time.Second}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	l := newLane(s, Options{Log: slog.New(slog.DiscardHandler)}.withDefaults(), newMetrics().lane("s"))
	list := []queue.Delivery{{ID: itemID(0)}, {ID: itemID(1)}, {ID: itemID(2)}}
	l.halve(list[1:], errTest)
	for n, want := range []bool{false, false, true, true} {
		if got := l.known(list[:n]); got != want {
			t.Errorf("of %d one is known: %t, want %t", n, got, want)
		}
	}
}
