package dispatcher

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/queue"
	"holdfast/sinks"
)

// aged is a feed whose items were accepted so long ago, and then at that pace.
func aged(strict bool, n int, ago, pace time.Duration) *fakeFeed {
	f := newFeed(strict, n)
	for i := range n {
		f.items[i].d.Item.Time = time.Now().Add(time.Duration(i)*pace - ago).UnixMilli()
	}
	return f
}

const tooOldErr = "delivery failed: older than max_age 1m0s: no luck"

// Guarantees C4, D2, in part: the rule and the text.
func TestOnlyAWaitIsTurnedIntoADeadLetterByAge(t *testing.T) {
	r := Retry{MaxAge: time.Minute}
	dead := queue.Outcome{Kind: queue.Bury, Err: tooOldErr}
	permanent := queue.Outcome{Kind: queue.Bury, Permanent: true, Err: "delivery failed: permanent: no luck"}
	again := queue.Outcome{Kind: queue.Retry, After: time.Second, Err: "delivery failed: no luck"}
	hold := queue.Outcome{Kind: queue.Hold, After: time.Second, Err: "delivery failed: no luck"}
	for _, tt := range []struct {
		policy Retry
		o      queue.Outcome
		age    time.Duration
		want   queue.Outcome
	}{
		{r, again, time.Minute, again},
		{r, again, time.Minute + 1, dead},
		{r, hold, time.Minute, hold},
		{r, hold, time.Hour, dead},
		{r, hold, -time.Hour, hold},
		{r, permanent, time.Hour, permanent},
		{r, queue.Outcome{Kind: queue.Done}, time.Hour, queue.Outcome{Kind: queue.Done}},
		{Retry{}, hold, 1e6 * time.Hour, hold},
	} {
		if diff := cmp.Diff(tt.want, tt.policy.bounded(tt.o, errTest, tt.age)); diff != "" {
			t.Errorf("%+v, %v: %s", tt.o, tt.age, diff)
		}
	}
}

func TestItemPastMaxAgeIsADeadLetterWhenItsAttemptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := aged(true, 3, time.Hour, 0)
		feed.items[2].d.Item.Time = time.Now().UnixMilli()
		policy := *exact
		policy.MaxAge = time.Minute
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Retry: &policy, Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
			if number(items[0]) == 1 {
				return nil // old, and delivered all the same
			}
			return errTest
		})})
		after(time.Second)
		want := [][]queue.OutcomeKind{{queue.Bury}, {queue.Done}, {queue.Retry, queue.Retry, queue.Retry, queue.Bury}}
		for i := range want {
			if diff := cmp.Diff(want[i], feed.kinds(i)); diff != "" {
				t.Errorf("item %d: %s", i, diff)
			}
		}
		if o := feed.last(0); o.Err != tooOldErr || o.Permanent {
			t.Errorf("%+v", o)
		}
		if o := feed.last(2); o.Err != "delivery failed: no luck" {
			t.Errorf("%+v", o)
		}
		r.end()
	})
}

// Guarantee C4, in part: max_age bounds an outage. One item in 10 s is accepted while the destination is down for ever.
func TestOutageTurnsWhatIsPastMaxAgeIntoDeadLetters(t *testing.T) {
	for name, s := range map[string]Sink{
		"strict": {},
		"none":   {Concurrency: 3},
		"batch":  {Batch: Batch{Items: 8, Wait: time.Second}},
		"rate":   {Rate: &Rate{PerSecond: 1, Burst: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 60
				feed := aged(s.Concurrency == 0, n, 0, 10*time.Second)
				for _, it := range feed.items {
					it.due = time.UnixMilli(it.d.Item.Time)
				}
				began := time.Now()
				var book calls
				s := s
				s.Name, s.Feed, s.Retry = "s", feed, &Retry{MaxRetries: 3, MaxAge: time.Minute}
				s.Sink = sinkFunc(func(_ context.Context, items []sinks.Item) error {
					book.note(began, items[0])
					return sinks.Unavailable(errTest)
				})
				r := start(t, Options{}, s)
				for minute := range 9 {
					after(time.Minute)
					// Those accepted more than max_age and a probe ago are gone, no younger one is.
					old := max(0, minute*6)
					if dead := feed.count(queue.Bury); dead < old-1 || dead > old+1 {
						t.Errorf("minute %d: %d dead letters, want about %d", minute+1, dead, old)
					}
				}
				for i := range feed.items {
					if o := feed.last(i); o.Kind == queue.Bury && o.Err != tooOldErr {
						t.Errorf("item %d: %+v", i, o)
					}
				}
				if c := len(book.all()); c > 9*12+3 {
					t.Errorf("%d attempts in 9 minutes", c)
				}
				r.end()
			})
		})
	}
}

// Guarantee C4, in part: a backlog that was past max_age already when the outage began is given max_age of it, in which
// only probes cost an item, and goes then without an attempt each.
func TestOldBacklogIsSweptOnlyAfterMaxAgeOfOutage(t *testing.T) {
	for name, s := range map[string]Sink{
		"strict":      {},
		"none":        {Concurrency: 3},
		"retry after": {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 1000
				feed := aged(s.Concurrency == 0, n, time.Hour, 0)
				feed.items[n-1].d.Item.Time = time.Now().Add(30 * time.Second).UnixMilli()
				verdict := sinks.Unavailable(errTest)
				if name == "retry after" {
					verdict = sinks.RetryAfter(time.Hour, errTest)
				}
				var attempts atomic.Int64
				s := s
				s.Name, s.Feed, s.Retry = "s", feed, &Retry{MaxAge: time.Minute}
				s.Sink = sinkFunc(func(context.Context, []sinks.Item) error { attempts.Add(1); return verdict })
				r := start(t, Options{}, s)
				after(59 * time.Second)
				if dead := feed.count(queue.Bury); dead != int(attempts.Load()) || dead > 3+11 {
					t.Errorf("%d dead letters of %d attempts", dead, attempts.Load())
				}
				before := attempts.Load()
				after(2 * time.Second)
				if dead := feed.count(queue.Bury); dead != n-1 || attempts.Load() > before+1 {
					t.Errorf("%d dead letters, %d more attempts", dead, attempts.Load()-before)
				}
				if k := feed.kinds(n - 1); slices.Contains(k, queue.Bury) {
					t.Errorf("the young one: %v", k)
				}
				after(40 * time.Second)
				if o := feed.last(n - 1); o.Kind != queue.Bury || o.Err != tooOldErr {
					t.Errorf("the young one: %+v", o)
				}
				if s := r.Status()[0]; s.State != Down {
					t.Errorf("status %+v", s)
				}
				if lines := r.log.all(); len(lines) > 5 {
					t.Errorf("log %v", lines)
				}
				r.end()
			})
		})
	}
}

// Guarantee C4, in part: what is accepted while a destination has put off its next probe is bounded too.
func TestItemThatComesDuringALongRetryAfterIsSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := aged(false, 1, 0, 0)
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Retry: &Retry{MaxAge: time.Minute}, Sink: sinkFunc(func(context.Context, []sinks.Item) error { return sinks.RetryAfter(time.Hour, errTest) })})
		after(150 * time.Second)
		addAll(feed, 1, 2)
		after(time.Minute)
		if k := feed.kinds(1); len(k) != 0 {
			t.Errorf("after max_age: %v", k)
		}
		after(time.Minute)
		if o := feed.last(1); o.Kind != queue.Bury || o.Err != tooOldErr {
			t.Errorf("after max_age twice: %+v", o)
		}
		r.end()
	})
}

// Guarantee C4, in part: only an outage sweeps; one that is over, or whose probe is out, does not.
func TestNothingIsSweptUnlessTheDestinationIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for state, want := range map[breakerState]int{closed: 0, probing: 0, open: 3} {
			feed := aged(true, 3, time.Hour, 0)
			s, err := Sink{Name: "s", Feed: feed, Sink: sinkFunc(nil), Retry: &Retry{MaxAge: time.Minute}}.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			l := newLane(s, Options{}.withDefaults(), newMetrics().lane("s"))
			l.breaker.state, l.breaker.since, l.symptom.err = state, time.Now().Add(-time.Hour), errTest
			l.sweep(t.Context(), l.enlist(nil), -1)
			if dead := feed.count(queue.Bury); dead != want {
				t.Errorf("breaker %d: %d dead letters, want %d", state, dead, want)
			}
		}
	})
}

// Guarantee C4, in part: an outage that ends leaves the old items their chance.
func TestOldItemsAreDeliveredAfterAShortOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := aged(true, 100, time.Hour, 0)
		began := time.Now()
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Retry: &Retry{MaxAge: time.Minute}, Sink: sinkFunc(func(context.Context, []sinks.Item) error {
			if time.Since(began) < 14*time.Second {
				return sinks.Unavailable(errTest)
			}
			return nil
		})})
		after(16 * time.Second)
		if feed.count(queue.Bury) != 3 || feed.count(queue.Done) != 97 {
			t.Errorf("%d dead letters, %d done", feed.count(queue.Bury), feed.count(queue.Done))
		}
		r.end()
	})
}

// A destination that is gone pauses the sink, which keeps its items whatever their age.
func TestPausedSinkKeepsWhatIsPastMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := aged(true, 2, time.Hour, 0)
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Pause: feed.pause, Retry: &Retry{MaxAge: time.Minute}, Sink: sinkFunc(func(context.Context, []sinks.Item) error { return sinks.Gone(errTest) })})
		after(24 * time.Hour)
		if !slices.Equal(feed.kinds(0), []queue.OutcomeKind{queue.Hold}) || len(feed.kinds(1)) != 0 {
			t.Errorf("outcomes %v, %v", feed.kinds(0), feed.kinds(1))
		}
		r.end()
	})
}

// Guarantee C10, in part: the sleep between sweeps ends at once, and a sweep settles nothing after it.
func TestStopEndsASweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := aged(true, 2, 0, time.Hour)
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Retry: &Retry{MaxAge: time.Minute}, Sink: sinkFunc(func(context.Context, []sinks.Item) error { return sinks.RetryAfter(time.Hour, errTest) })})
		after(90 * time.Second)
		if took := r.end(); took != 0 {
			t.Errorf("stopping took %v", took)
		}
		if _, out := feed.unsettled(); out != 0 {
			t.Errorf("%d out", out)
		}
	})
}

func TestReasonOfALongErrorKeepsTheAge(t *testing.T) {
	o := Retry{MaxAge: time.Minute}.bounded(queue.Outcome{Kind: queue.Hold}, errors.New(strings.Repeat("x", 4000)), time.Hour)
	if !strings.HasPrefix(o.Err, "delivery failed: older than max_age 1m0s: x") || len(o.Err) > maxReason {
		t.Errorf("%.60q…, %d bytes", o.Err, len(o.Err))
	}
}
