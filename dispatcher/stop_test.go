package dispatcher

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/queue"
	"holdfast/sinks"
)

// Guarantee C10.
func TestStopCutsSleepsShortAtOnce(t *testing.T) {
	for name, verdict := range map[string]error{
		"backoff":     errTest,
		"breaker":     sinks.Unavailable(errTest),
		"retry after": sinks.RetryAfter(time.Hour, errTest),
	} {
		for _, workers := range []int{1, 3} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					feed := newFeed(workers == 1, 3)
					r := start(t, Options{}, Sink{Name: "s", Feed: feed, Concurrency: workers, Retry: &Retry{MaxRetries: 9, Base: time.Hour, Max: time.Hour},
						Sink: sinkFunc(func(context.Context, []sinks.Item) error { return verdict })})
					after(time.Second)
					if took := r.end(); took != 0 {
						t.Errorf("stopping took %v", took)
					}
					if waiting, out := feed.unsettled(); waiting != 3 || out != 0 {
						t.Errorf("%d waiting, %d out", waiting, out)
					}
				})
			})
		}
	}
}

// Guarantee G3, in part: what is in flight may finish, and nothing more is taken.
func TestStopLetsAttemptsFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := newFeed(false, 10)
		r := start(t, Options{Drain: 10 * time.Second}, Sink{Name: "s", Feed: feed, Concurrency: 2, Sink: sinkFunc(func(ctx context.Context, _ []sinks.Item) error {
			select {
			case <-time.After(7 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})})
		after(time.Second)
		if took := r.end(); took != 6*time.Second {
			t.Errorf("stopping took %v", took)
		}
		if done := feed.count(queue.Done); done != 2 {
			t.Errorf("%d done", done)
		}
		if waiting, out := feed.unsettled(); waiting != 8 || out != 0 {
			t.Errorf("%d waiting, %d out", waiting, out)
		}
	})
}

// Guarantees E2, G3, in part: an attempt that a stop cuts short is neither done nor spent, whatever the sink says.
func TestStopThatCutsAnAttemptLeavesNoTrace(t *testing.T) {
	for name, says := range map[string]error{
		"its context's error": context.Canceled,
		"plain":               errTest,
		"permanent":           sinks.Permanent(context.Canceled),
		"unavailable":         sinks.Unavailable(context.Canceled),
		"gone":                sinks.Gone(context.Canceled),
		"ignores it":          nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				feed := newFeed(true, 2)
				r := start(t, Options{Drain: 3 * time.Second, Grace: time.Second}, Sink{Name: "s", Feed: feed, Pause: feed.pause, Sink: sinkFunc(func(ctx context.Context, _ []sinks.Item) error {
					if says == nil {
						<-release
						return nil
					}
					<-ctx.Done()
					return says
				})})
				after(time.Second)
				want := 3 * time.Second
				if says == nil {
					want = 4 * time.Second
				}
				if took := r.end(); took != want {
					t.Errorf("stopping took %v, want %v", took, want)
				}
				if len(feed.kinds(0)) != 0 || feed.items[0].returned != 1 || feed.paused {
					t.Errorf("outcomes %v, returned %d times, paused %v", feed.kinds(0), feed.items[0].returned, feed.paused)
				}
				close(release)
			})
		})
	}
}

// Guarantee G3, in part: an attempt that succeeds although it was cut short is done.
func TestStopKeepsASuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := newFeed(true, 1)
		r := start(t, Options{Drain: -1}, Sink{Name: "s", Feed: feed, Sink: sinkFunc(func(ctx context.Context, _ []sinks.Item) error {
			<-ctx.Done()
			return nil
		})})
		synctest.Wait()
		r.end()
		if feed.last(0).Kind != queue.Done {
			t.Errorf("outcome %+v", feed.last(0))
		}
	})
}

// Guarantees C7, E2: an attempt has a deadline, which counts as a plain failure.
func TestAttemptHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := newFeed(true, 2)
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Timeout: 4 * time.Second, Retry: exact, Sink: sinkFunc(func(ctx context.Context, items []sinks.Item) error {
			began := time.Now()
			if number(items[0]) == 0 {
				<-ctx.Done()
				if took := time.Since(began); took != 4*time.Second {
					t.Errorf("the context was done after %v", took)
				}
				return ctx.Err()
			}
			return nil
		})})
		after(time.Minute)
		if k := feed.kinds(0); !slices.Equal(k, []queue.OutcomeKind{queue.Retry, queue.Retry, queue.Retry, queue.Bury}) {
			t.Errorf("outcomes %v", k)
		}
		if err := feed.last(0).Err; err != "delivery failed: no result within 4s: context deadline exceeded" {
			t.Error(err)
		}
		if feed.last(1).Kind != queue.Done {
			t.Error("the next item was not delivered")
		}
		r.end()
	})
}

// Guarantee C7: attempts in a run of a fast sink have their deadlines too.
func TestAttemptInARunHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := newFeed(true, 500)
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Timeout: 4 * time.Second, Retry: &Retry{}, Sink: sinkFunc(func(ctx context.Context, items []sinks.Item) error {
			if number(items[0])%50 != 49 {
				time.Sleep(time.Millisecond / 2)
				return nil
			}
			began := time.Now()
			<-ctx.Done()
			if took := time.Since(began); took < 4*time.Second || took > 4*time.Second+runTime {
				t.Errorf("the context was done after %v", took)
			}
			return ctx.Err()
		})})
		after(time.Minute)
		if done, dead := feed.count(queue.Done), feed.count(queue.Bury); done != 490 || dead != 10 {
			t.Errorf("%d done, %d dead", done, dead)
		}
		r.end()
	})
}

// Guarantees C7, E2: a sink that ignores its context is abandoned and counted; a lane holds while too many hang, and
// goes on when one returns.
func TestSinkThatIgnoresItsContextIsAbandoned(t *testing.T) {
	for _, workers := range []int{1, 6} {
		synctest.Test(t, func(t *testing.T) {
			before := runtime.NumGoroutine()
			release := make(chan struct{})
			var hangs atomic.Bool
			hangs.Store(true)
			feed := newFeed(workers == 1, 40)
			r := start(t, Options{}, Sink{Name: "s", Feed: feed, Concurrency: workers, Timeout: time.Second, Retry: &Retry{MaxRetries: -1}, Breaker: Breaker{Failures: -1},
				Sink: sinkFunc(func(context.Context, []sinks.Item) error {
					if hangs.Load() {
						<-release
					}
					return nil
				})})
			after(time.Hour)
			s := r.Status()[0]
			if want := max(mayHang, workers); s.Abandoned < want || s.Abandoned >= want+workers || s.InFlight != 0 || s.State != Down {
				t.Errorf("%d workers: %+v", workers, s)
			}
			if n := runtime.NumGoroutine() - before; n > 3*workers+10 {
				t.Errorf("%d goroutines", n)
			}
			if o := feed.last(0); o.Kind != queue.Retry || o.Err != "delivery failed: the sink ignores its deadline" {
				t.Errorf("outcome %+v", o)
			}
			hangs.Store(false)
			close(release)
			after(time.Second)
			if n := feed.count(queue.Done); n != 40 {
				t.Errorf("%d workers: %d done", workers, n)
			}
			if s := r.Status()[0]; s.Abandoned != 0 || s.InFlight != 0 || s.State != Active {
				t.Errorf("%d workers: %+v", workers, s)
			}
			r.end()
		})
	}
}

// Guarantees C7, E2: a worker that panics, or whose goroutine ends, is a plain failure; the lane lives on.
func TestWorkerThatDiesSettlesNothingForGood(t *testing.T) {
	for name, die := range map[string]func(){
		"panic":  func() { panic("oh") },
		"error":  func() { panic(errors.New("oh")) },
		"goexit": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				feed := newFeed(true, 100)
				r := start(t, Options{}, Sink{Name: "s", Feed: feed, Retry: exact, Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
					if number(items[0])%10 == 5 && items[0].Attempt < 3 {
						die()
					}
					return nil
				})})
				after(time.Minute)
				if n := feed.count(queue.Done); n != 100 {
					t.Errorf("%d done", n)
				}
				if k := feed.kinds(5); !slices.Equal(k, []queue.OutcomeKind{queue.Retry, queue.Retry, queue.Done}) {
					t.Errorf("outcomes %v", k)
				}
				if s := r.Status()[0]; s.InFlight != 0 || s.Abandoned != 0 {
					t.Errorf("status %+v", s)
				}
				r.end()
			})
		})
	}
}

// Guarantee E2: a goroutine that ends in the middle of a stop settles nothing.
func TestGoroutineThatEndsDuringAStopReturnsItsDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := newFeed(true, 1)
		r := start(t, Options{Drain: time.Second}, Sink{Name: "s", Feed: feed, Sink: sinkFunc(func(ctx context.Context, _ []sinks.Item) error {
			<-ctx.Done()
			runtime.Goexit()
			return nil
		})})
		after(time.Second)
		r.end()
		if len(feed.kinds(0)) != 0 || feed.items[0].returned != 1 {
			t.Errorf("outcomes %v, returned %d times", feed.kinds(0), feed.items[0].returned)
		}
	})
}

// slowFeed is a feed whose first Settle takes an hour.
type slowFeed struct {
	*fakeFeed
	slept bool
}

func (f *slowFeed) SettleAll(deliveries []queue.Delivery, o queue.Outcome) {
	for _, d := range deliveries {
		f.Settle(d, o)
	}
}

func (f *slowFeed) Settle(d queue.Delivery, o queue.Outcome) {
	if !f.slept && number(sinks.Item{ID: d.ID}) == 9 {
		f.slept = true
		time.Sleep(time.Hour)
	}
	f.fakeFeed.Settle(d, o)
}

// Guarantee C7: a watch that went off between two attempts lets no other begin unwatched.
func TestWorkerWhoseWatchIsUsedUpIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		feed := &slowFeed{fakeFeed: newFeed(true, 100)}
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Retry: exact, Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
			if number(items[0]) == 50 && items[0].Attempt == 1 {
				<-release
			}
			return nil
		})})
		after(2 * time.Hour)
		if n := feed.count(queue.Done); n != 100 || r.Status()[0].Abandoned != 1 {
			t.Errorf("%d done, status %+v", n, r.Status()[0])
		}
		if feed.items[10].returned != 1 {
			t.Errorf("the next of the run was returned %d times", feed.items[10].returned)
		}
		close(release)
		r.end()
	})
}
