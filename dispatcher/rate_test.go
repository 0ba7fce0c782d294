package dispatcher

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/queue"
	"holdfast/sinks"
)

// Guarantee C9: no more than burst + rate·t in any time t, whatever fails; nothing is dropped, and nothing is slower
// than it must be.
func TestRateDelaysAndDropsNothing(t *testing.T) {
	for name, s := range map[string]Sink{
		"strict":               {Rate: &Rate{PerSecond: 20, Burst: 5}},
		"none":                 {Rate: &Rate{PerSecond: 20, Burst: 5}, Concurrency: 4},
		"batch":                {Rate: &Rate{PerSecond: 20, Burst: 5}, Batch: Batch{Items: 4}},
		"larger than burst":    {Rate: &Rate{PerSecond: 20, Burst: 5}, Batch: Batch{Items: 64}},
		"batch that waits":     {Rate: &Rate{PerSecond: 20, Burst: 5}, Batch: Batch{Items: 4, Wait: 50 * time.Millisecond}},
		"none in batches":      {Rate: &Rate{PerSecond: 20, Burst: 5}, Batch: Batch{Items: 4}, Concurrency: 3},
		"a burst by default":   {Rate: &Rate{PerSecond: 5}, Concurrency: 2},
		"less than a second's": {Rate: &Rate{PerSecond: 0.3}},
		"no round number":      {Rate: &Rate{PerSecond: 7.7, Burst: 3}, Batch: Batch{Items: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 100
				began := time.Now()
				var mu sync.Mutex
				var sent []time.Duration
				s := s
				feed := newFeed(s.Concurrency == 0, n)
				s.Name, s.Feed, s.Retry, s.Breaker = "s", feed, &Retry{MaxRetries: 3}, Breaker{Failures: -1}
				s.Sink = sinkFunc(func(_ context.Context, items []sinks.Item) error {
					mu.Lock()
					defer mu.Unlock()
					each := make([]error, len(items))
					for i, it := range items {
						sent = append(sent, time.Since(began))
						if number(it)%10 == 3 && it.Attempt == 1 {
							each[i] = errTest
						}
					}
					return &sinks.BatchError{Errs: each}
				})
				r := start(t, Options{}, s)
				after(time.Hour)
				if feed.count(queue.Done) != n || len(sent) != n+10 {
					t.Fatalf("%d done by %d", feed.count(queue.Done), len(sent))
				}
				rate, burst := s.Rate.PerSecond, cmp.Or(s.Rate.Burst, int(s.Rate.PerSecond), 1)
				for i := range sent {
					for j := i; j < len(sent); j++ {
						if may := float64(burst) + rate*(sent[j]-sent[i]).Seconds(); float64(j-i+1) > may+1e-6 {
							t.Fatalf("%d items from %v to %v", j-i+1, sent[i], sent[j])
						}
					}
				}
				if least, last := float64(len(sent)-burst)/rate, sent[len(sent)-1].Seconds(); last > least+5/rate {
					t.Errorf("the last was sent after %v s, which is possible after %v s", last, least)
				}
				r.end()
			})
		})
	}
}

// Guarantee C9, in part: batches stay full, and while the rate delays nothing is held: a pause takes hold, and what
// expires is seen.
func TestNothingIsHeldWhileTheRateDelays(t *testing.T) {
	for name, b := range map[string]Batch{"single": {}, "batch": {Items: 8}, "waits": {Items: 8, Wait: time.Second}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				items := max(b.Items, 1)
				feed := newFeed(true, 100)
				var sizes []int
				r := start(t, Options{}, Sink{Name: "s", Feed: feed, Batch: b, Rate: &Rate{PerSecond: 0.1, Burst: items}, Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
					sizes = append(sizes, len(items))
					return nil
				})})
				after(5 * time.Second)
				if _, out := feed.unsettled(); out != 0 {
					t.Errorf("%d are out", out)
				}
				if s := r.Status()[0]; s.State != Active || time.Until(s.NextAttempt) != 5*time.Second {
					t.Errorf("status %+v", s)
				}
				feed.pause(t.Context())
				after(time.Hour)
				if !slices.Equal(sizes, []int{items}) {
					t.Errorf("batches of %v before the resume", sizes)
				}
				feed.resume()
				after(time.Duration(10*items) * time.Second)
				if !slices.Equal(sizes, []int{items, items, items}) {
					t.Errorf("batches of %v", sizes)
				}
				r.end()
			})
		})
	}
}

// Guarantees C8, C9, in part: a batch that the rate delays has done its waiting, and goes as soon as the rate lets it.
func TestBatchThatWasDelayedGoesAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var book batches
		feed := newFeed(true, 4)
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Batch: Batch{Items: 4, Wait: time.Second}, Rate: &Rate{PerSecond: 0.1, Burst: 4},
			Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error { book.note(began, items); return nil })})
		after(time.Second)
		addAll(feed, 4, 6)
		after(14 * time.Second)
		feed.add(6)
		after(time.Minute)
		book.expect(t, "0s [0 1 2 3]", "20s [4 5]", "31s [6]")
		r.end()
	})
}

// Guarantees C9, C10, in part.
func TestStopCutsTheDelayOfARate(t *testing.T) {
	for _, workers := range []int{1, 3} {
		for _, batch := range []int{1, 4} {
			synctest.Test(t, func(t *testing.T) {
				feed := newFeed(workers == 1, 9)
				r := start(t, Options{}, Sink{Name: "s", Feed: feed, Concurrency: workers, Batch: Batch{Items: batch}, Rate: &Rate{PerSecond: 1e-9, Burst: 4}, Sink: sinkFunc(func(context.Context, []sinks.Item) error { return nil })})
				after(24 * time.Hour)
				if took := r.end(); took != 0 {
					t.Errorf("stopping took %v", took)
				}
				if waiting, out := feed.unsettled(); waiting != 5 || out != 0 {
					t.Errorf("%d waiting, %d out", waiting, out)
				}
			})
		}
	}
}

// Guarantees C4, C9, in part: probes obey the rate, and a rate does not stand in the way of an outage's end.
func TestRateAndOutage(t *testing.T) {
	for _, workers := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			var book calls
			feed := newFeed(workers == 1, 30)
			r := start(t, Options{}, Sink{Name: "s", Feed: feed, Concurrency: workers, Batch: Batch{Items: 4}, Rate: &Rate{PerSecond: 0.1, Burst: 4}, Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
				book.note(began, items[0])
				if time.Since(began) < time.Minute {
					return sinks.Unavailable(errTest)
				}
				return nil
			})})
			after(59 * time.Second)
			if n := len(book.all()); n > 6 {
				t.Errorf("%d calls in a minute", n)
			}
			after(time.Hour)
			if feed.count(queue.Done) != 30 {
				t.Errorf("%d done", feed.count(queue.Done))
			}
			r.end()
		})
	}
}
