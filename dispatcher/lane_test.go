package dispatcher

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/queue"
	"holdfast/sinks"
)

// Guarantee C1.
func TestItemIsAttemptedOnceMoreThanItsRetries(t *testing.T) {
	for _, retries := range []int{0, 1, 3} {
		synctest.Test(t, func(t *testing.T) {
			var book calls
			began := time.Now()
			feed := newFeed(true, 1)
			policy := *exact
			policy.MaxRetries = retries
			r := start(t, Options{}, Sink{Name: "s", Feed: feed, Retry: &policy, Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
				if n := book.note(began, items[0]); items[0].Attempt != n {
					t.Errorf("call %d says attempt %d", n, items[0].Attempt)
				}
				return errTest
			})})
			after(time.Hour)
			if n := len(book.all()); n != retries+1 {
				t.Errorf("max_retries %d: %d attempts", retries, n)
			}
			if o := feed.last(0); o.Kind != queue.Bury || o.Permanent || o.Err != "delivery failed: no luck" {
				t.Errorf("max_retries %d: %+v", retries, o)
			}
			r.end()
		})
	}
}

// Guarantees C2, B2, in part: strict.
func TestRetryingItemHoldsThoseBehindItAndWaitsLongerEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var book calls
		began := time.Now()
		feed := newFeed(true, 3)
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Retry: exact, Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
			if n := book.note(began, items[0]); number(items[0]) == 1 && n <= 3 {
				return errTest
			}
			return nil
		})})
		after(time.Minute)
		const ms = time.Millisecond
		want := []call{{0, 0}, {1, 0}, {1, 100 * ms}, {1, 300 * ms}, {1, 700 * ms}, {2, 700 * ms}}
		if diff := cmp.Diff(want, book.all(), cmp.AllowUnexported(call{})); diff != "" {
			t.Error(diff)
		}
		if s := r.Status()[0]; s.State != Active || s.Delivered != 3 || s.LastError != "delivery failed: no luck" {
			t.Errorf("status %+v", s)
		}
		r.end()
	})
}

// Guarantee B2, in part: none. Up to so many are attempted at once, and a retrying one is passed by.
func TestWithoutOrderOthersPassARetryingItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := newFeed(false, 20)
		var at, most atomic.Int64
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Concurrency: 4, Retry: &Retry{MaxRetries: 3, Base: time.Minute, Max: time.Minute},
			Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
				if n := at.Add(1); n > most.Load() {
					most.Store(n)
				}
				defer at.Add(-1)
				time.Sleep(time.Second)
				if number(items[0]) == 0 && items[0].Attempt < 3 {
					return errTest
				}
				return nil
			})})
		after(6 * time.Second)
		if n := feed.count(queue.Done); n != 19 {
			t.Errorf("%d done, want 19", n)
		}
		if most.Load() != 4 {
			t.Errorf("%d at once, want 4", most.Load())
		}
		after(3 * time.Minute)
		if n := feed.count(queue.Done); n != 20 {
			t.Errorf("%d done, want 20", n)
		}
		r.end()
	})
}

// Guarantee B2, in part: strict. One attempt is in flight, and order is kept, whatever fails.
func TestStrictOrderHasOneAttemptInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 3000
		feed := newFeed(true, n)
		var at atomic.Int64
		var done []int
		rnd := rand.New(rand.NewPCG(1, 2))
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Retry: &Retry{MaxRetries: -1}, Breaker: Breaker{Failures: -1},
			Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
				if at.Add(1) != 1 {
					t.Error("two at once")
				}
				defer at.Add(-1)
				switch rnd.IntN(50) {
				case 0:
					return errTest
				case 1:
					panic("oh")
				case 2:
					time.Sleep(20 * time.Millisecond)
				case 3:
					return sinks.Unavailable(errTest)
				}
				done = append(done, number(items[0]))
				return nil
			})})
		after(24 * time.Hour)
		r.end()
		if len(done) != n || !slices.IsSorted(done) {
			t.Errorf("%d done, sorted: %v", len(done), slices.IsSorted(done))
		}
	})
}

// Guarantee C3.
func TestPermanentErrorIsOneAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := newFeed(true, 2)
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Retry: &Retry{MaxRetries: -1}, Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
			if number(items[0]) == 0 {
				return sinks.Permanent(errTest)
			}
			return nil
		})})
		after(time.Second)
		if o := feed.last(0); o.Kind != queue.Bury || !o.Permanent || o.Err != "delivery failed: permanent: no luck" || len(feed.kinds(0)) != 1 {
			t.Errorf("%v, the last %+v", feed.kinds(0), o)
		}
		if feed.last(1).Kind != queue.Done {
			t.Error("the next item was not delivered")
		}
		r.end()
	})
}

// Guarantee C4.
func TestOutageHoldsProbesWithOneItemAndResumesByItself(t *testing.T) {
	for name, s := range map[string]Sink{
		"strict": {Feed: newFeed(true, 0)},
		"none":   {Feed: newFeed(false, 0), Concurrency: 4},
		"batch":  {Feed: newFeed(true, 0), Batch: Batch{Items: 8}},
		"waits":  {Feed: newFeed(true, 0), Batch: Batch{Items: 8, Wait: time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				feed := newFeed(s.Concurrency == 0, 30)
				var book calls
				began := time.Now()
				s := s
				s.Name, s.Feed = "s", feed
				s.Sink = sinkFunc(func(_ context.Context, items []sinks.Item) error {
					book.note(began, items[0])
					if since := time.Since(began); since < time.Minute {
						if since > 0 && len(items) != 1 {
							t.Errorf("a probe with %d items", len(items))
						}
						return sinks.Unavailable(errTest)
					}
					return nil
				})
				r := start(t, Options{}, s)
				after(59 * time.Second)
				first := max(s.Concurrency, 1) // those were in flight when it opened
				if n := len(book.all()); n < 12 || n > first+11 {
					t.Errorf("%d calls in a minute, want at most %d and one every 5s", n, first)
				}
				if st := r.Status()[0]; st.State != Down || st.NextAttempt.Sub(began) != time.Minute {
					t.Errorf("status %+v", st)
				}
				after(30 * time.Second)
				if n := feed.count(queue.Done); n != 30 {
					t.Errorf("%d done, want 30", n)
				}
				for i := range 30 {
					if slices.Contains(feed.kinds(i), queue.Retry) {
						t.Errorf("an attempt of item %d was spent", i)
					}
				}
				lines := slices.DeleteFunc(r.log.all(), func(line string) bool { return line == "WARN sink still down" }) // due at the same moment
				if diff := cmp.Diff([]string{"WARN sink down", "INFO sink up again"}, lines); diff != "" {
					t.Error(diff)
				}
				r.end()
			})
		})
	}
}

// Guarantee C4: a storm of plain failures does not empty the backlog into the dead letters.
func TestStormOfPlainFailuresIsAnOutage(t *testing.T) {
	for name, order := range map[string]bool{"strict": true, "none": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				feed := newFeed(order, 100)
				r := start(t, Options{}, Sink{Name: "s", Feed: feed, Retry: exact, Sink: sinkFunc(func(context.Context, []sinks.Item) error {
					if time.Since(began) < time.Hour {
						return errTest
					}
					return nil
				})})
				after(59 * time.Minute)
				if n := feed.count(queue.Bury); n > 4 {
					t.Errorf("%d dead letters, want at most 4", n)
				}
				if s := r.Status()[0]; s.State != Down {
					t.Errorf("status %+v", s)
				}
				after(10 * time.Minute)
				if waiting, out := feed.unsettled(); waiting+out != 0 {
					t.Errorf("%d waiting, %d out after the storm", waiting, out)
				}
				r.end()
			})
		})
	}
}

func TestPoisonItemDoesNotHoldItsSinkAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		feed := newFeed(true, 3)
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Retry: exact, Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
			switch {
			case time.Since(began) < time.Minute:
				return sinks.Unavailable(errTest)
			case number(items[0]) == 0:
				return errTest
			}
			return nil
		})})
		after(2 * time.Minute)
		if feed.last(0).Kind != queue.Bury || feed.count(queue.Done) != 2 {
			t.Errorf("the poison item: %+v, %d others done", feed.last(0), feed.count(queue.Done))
		}
		r.end()
	})
}

// Guarantee C5, in part: the wait is told to the queue, which keeps it.
func TestRetryAfterIsObeyedAndCapped(t *testing.T) {
	for _, tt := range []struct{ says, want time.Duration }{{90 * time.Second, 90 * time.Second}, {48 * time.Hour, time.Hour}, {0, 5 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			var book calls
			began := time.Now()
			feed := newFeed(true, 2)
			r := start(t, Options{}, Sink{Name: "s", Feed: feed, Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
				if book.note(began, items[0]) == 1 && number(items[0]) == 0 {
					return sinks.RetryAfter(tt.says, errTest)
				}
				return nil
			})})
			synctest.Wait()
			if o := feed.last(0); o.Kind != queue.Hold || o.After != tt.want {
				t.Errorf("says %v: %+v", tt.says, o)
			}
			after(2 * time.Hour)
			want := []call{{0, 0}, {0, tt.want}, {1, tt.want}}
			if diff := cmp.Diff(want, book.all(), cmp.AllowUnexported(call{})); diff != "" {
				t.Error(diff)
			}
			r.end()
		})
	}
}

// Guarantee C6, in part: what was spent before a restart comes in with the delivery.
func TestAttemptsOfAnEarlierLifeCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := newFeed(true, 1)
		feed.items[0].d.Attempts = 2
		var attempts []int
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Retry: exact, Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
			attempts = append(attempts, items[0].Attempt)
			return errTest
		})})
		synctest.Wait()
		if o := feed.last(0); o.After != 400*time.Millisecond {
			t.Errorf("the third failure waits %v", o.After)
		}
		after(time.Minute)
		if !slices.Equal(attempts, []int{3, 4}) || feed.last(0).Kind != queue.Bury {
			t.Errorf("attempts %v, then %+v", attempts, feed.last(0))
		}
		r.end()
	})
}

func TestGonePausesTheSinkAndKeepsTheItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := newFeed(true, 2)
		gone := true
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Pause: feed.pause, Sink: sinkFunc(func(context.Context, []sinks.Item) error {
			if gone {
				return sinks.Gone(errTest)
			}
			return nil
		})})
		after(24 * time.Hour)
		if !slices.Equal(feed.kinds(0), []queue.OutcomeKind{queue.Hold}) || len(feed.kinds(1)) != 0 {
			t.Errorf("outcomes %v, %v", feed.kinds(0), feed.kinds(1))
		}
		if s := r.Status()[0]; s.State != Paused {
			t.Errorf("status %+v", s)
		}
		gone = false
		feed.resume()
		synctest.Wait()
		if n := feed.count(queue.Done); n != 2 || r.Status()[0].State != Active {
			t.Errorf("%d done after the resume, state %s", n, r.Status()[0].State)
		}
		if diff := cmp.Diff([]string{"ERROR sink paused: its destination is gone"}, r.log.all()); diff != "" {
			t.Error(diff)
		}
		r.end()
	})
}

func TestGoneIsAnOutageWhereTheSinkCannotBePaused(t *testing.T) {
	for name, pause := range map[string]func(context.Context) error{
		"no way": nil, "fails": func(context.Context) error { return errTest },
		"hangs": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				feed := newFeed(true, 1)
				r := start(t, Options{}, Sink{Name: "s", Feed: feed, Pause: pause, Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
					return sinks.Gone(errTest)
				})})
				after(time.Minute)
				if n := len(feed.kinds(0)); n < 3 || feed.last(0).Kind != queue.Hold || r.Status()[0].State != Down {
					t.Errorf("%d outcomes, the last %+v, %s", n, feed.last(0), r.Status()[0].State)
				}
				r.end()
			})
		})
	}
}

// Guarantees B3, E3: one sink hangs, one panics, one is away; each item reaches the fourth at once, and no other repeats.
func TestSinksThatMisbehaveDelayNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		good := newFeed(true, 50)
		bad := map[string]sinkFunc{
			"hangs":   func(context.Context, []sinks.Item) error { <-release; return nil },
			"panics":  func(context.Context, []sinks.Item) error { panic("oh") },
			"is away": func(context.Context, []sinks.Item) error { return sinks.Unavailable(errTest) },
		}
		var list []Sink
		for name, f := range bad {
			list = append(list, Sink{Name: name, Feed: newFeed(true, 50), Sink: f})
		}
		var n atomic.Int64
		list = append(list, Sink{Name: "good", Feed: good, Sink: sinkFunc(func(context.Context, []sinks.Item) error { n.Add(1); return nil })})
		r := start(t, Options{}, list...)
		synctest.Wait()
		if good.count(queue.Done) != 50 || n.Load() != 50 {
			t.Errorf("%d done by %d calls before any time passed", good.count(queue.Done), n.Load())
		}
		after(time.Hour)
		for i := 50; i < 60; i++ {
			good.add(i)
		}
		synctest.Wait()
		if good.count(queue.Done) != 60 || n.Load() != 60 {
			t.Errorf("%d done by %d calls", good.count(queue.Done), n.Load())
		}
		r.end()
		close(release)
	})
}

func TestRunEndsSoonSoThatAPauseTakesHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := newFeed(true, 300)
		late := 0
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
			switch n := number(items[0]); {
			case n == 130: // the runs have become long by now
				return feed.pause(t.Context())
			case n > 130:
				late++
				time.Sleep(5 * time.Millisecond)
			}
			return nil
		})})
		after(time.Minute)
		if late > 2 {
			t.Errorf("%d attempts after the pause", late)
		}
		r.end()
	})
}

func TestSinkIsSeenAsTheItemIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := newFeed(true, 1)
		var got sinks.Item
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
			got = items[0]
			return nil
		})})
		synctest.Wait()
		it := feed.items[0].d.Item
		if got.ID != itemID(0) || got.Accepted.UnixMilli() != it.Time || got.Attempt != 1 || got.Key != it.Key || string(got.Body) != string(it.Body) || got.Attr("type") != "test" || got.Attr("none") != "" {
			t.Errorf("got %+v", got)
		}
		r.end()
	})
}

// A batch of which the sink spoke item by item: each settles alone.
func TestBatchErrorSettlesEachItemAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := newFeed(true, 4)
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Batch: Batch{Items: 4}, Retry: exact, Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
			if len(items) == 4 {
				return &sinks.BatchError{Errs: []error{nil, errTest, sinks.Permanent(errTest), nil}}
			}
			return nil
		})})
		after(time.Second)
		want := [][]queue.OutcomeKind{{queue.Done}, {queue.Retry, queue.Done}, {queue.Bury}, {queue.Done}}
		for i := range want {
			if diff := cmp.Diff(want[i], feed.kinds(i)); diff != "" {
				t.Errorf("item %d: %s", i, diff)
			}
		}
		if n := r.Status()[0].Delivered; n != 3 {
			t.Errorf("%d delivered", n)
		}
		r.end()
	})
}

// Guarantee C8, in part: one poison item in a batch is found by bisection, and the others lose no attempt.
func TestPoisonItemIsFoundInItsBatch(t *testing.T) {
	for name, poison := range map[string]func() error{
		"plain":     func() error { return errTest },
		"permanent": func() error { return sinks.Permanent(errTest) },
		"panic":     func() error { panic("oh") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				feed := newFeed(true, 200)
				batches := 0
				r := start(t, Options{}, Sink{Name: "s", Feed: feed, Batch: Batch{Items: 64}, Retry: exact, Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
					if batches++; len(items) > 64 {
						t.Errorf("a batch of %d", len(items))
					}
					if slices.ContainsFunc(items, func(it sinks.Item) bool { return number(it) == 77 }) {
						return poison()
					}
					return nil
				})})
				after(time.Minute)
				if feed.last(77).Kind != queue.Bury || feed.count(queue.Done) != 199 {
					t.Errorf("the poison item: %+v, %d others done", feed.last(77), feed.count(queue.Done))
				}
				for i := range 200 {
					if i != 77 && len(feed.kinds(i)) != 1 {
						t.Errorf("item %d: %v", i, feed.kinds(i))
					}
				}
				if batches > 40 {
					t.Errorf("%d batches", batches)
				}
				r.end()
			})
		})
	}
}

func TestFeedThatFailsStopsTheDispatcherWithItsError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, good := newFeed(true, 0), newFeed(true, 1)
		bad.err = errTest
		nop := sinkFunc(func(context.Context, []sinks.Item) error { return nil })
		r := start(t, Options{}, Sink{Name: "bad", Feed: bad, Concurrency: 3, Sink: nop}, Sink{Name: "good", Feed: good, Sink: nop})
		err := <-r.done
		if e, ok := errors.AsType[*FeedError](err); !ok || e.Sink != "bad" || !errors.Is(err, errTest) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestFeedThatFailsDuringAnOutageStopsAllWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := newFeed(false, 9)
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Concurrency: 3, Sink: sinkFunc(func(context.Context, []sinks.Item) error { return sinks.Unavailable(errTest) })})
		after(time.Second)
		feed.mu.Lock()
		feed.err = errTest
		feed.mu.Unlock()
		if err := <-r.done; !errors.Is(err, errTest) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestWithoutSinksRunWaitsForTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{})
		after(time.Hour)
		select {
		case <-r.done:
			t.Fatal("it ended")
		default:
		}
		r.end()
	})
}

func TestOptionsAreChecked(t *testing.T) {
	ok := Sink{Name: "s", Feed: newFeed(true, 0), Sink: sinkFunc(nil)}
	for name, change := range map[string]func(*Sink){
		"no name":     func(s *Sink) { s.Name = "" },
		"no feed":     func(s *Sink) { s.Feed = nil },
		"no sink":     func(s *Sink) { s.Sink = nil },
		"concurrency": func(s *Sink) { s.Concurrency = -1 },
		"batch":       func(s *Sink) { s.Batch.Items = -1 },
		"timeout":     func(s *Sink) { s.Timeout = -1 },
		"batch bytes": func(s *Sink) { s.Batch.Bytes = -1 },
		"batch wait":  func(s *Sink) { s.Batch.Wait = -1 },
		"no rate":     func(s *Sink) { s.Rate = &Rate{} },
		"rate":        func(s *Sink) { s.Rate = &Rate{PerSecond: math.NaN()} },
		"endless":     func(s *Sink) { s.Rate = &Rate{PerSecond: math.Inf(1)} },
		"burst":       func(s *Sink) { s.Rate = &Rate{PerSecond: 1, Burst: -1} },
		"max age":     func(s *Sink) { s.Retry = &Retry{MaxAge: -1} },
		"retries":     func(s *Sink) { s.Retry = &Retry{MaxRetries: -2} },
		"base":        func(s *Sink) { s.Retry = &Retry{Base: -1} },
		"max":         func(s *Sink) { s.Retry = &Retry{Max: -1} },
		"jitter":      func(s *Sink) { s.Retry = &Retry{Jitter: 1.1} },
	} {
		s := ok
		change(&s)
		if _, err := New([]Sink{s}, Options{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := New([]Sink{ok, ok}, Options{}); err == nil {
		t.Error("the same name twice: no error")
	}
	if _, err := New([]Sink{ok}, Options{}); err != nil {
		t.Error(err)
	}
}
