package dispatcher

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/sinks"
)

func TestLongOutageIsLoggedAtGrowingIntervalsAndItsEndAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r := start(t, Options{}, Sink{Name: "s", Feed: newFeed(true, 3), Waiting: func() int64 { return 7 },
			Sink: sinkFunc(func(context.Context, []sinks.Item) error {
				if time.Since(began) < 4*time.Hour+2*time.Second {
					return sinks.Unavailable(errTest)
				}
				return nil
			})})
		after(4*time.Hour + 10*time.Second)
		if s := r.Status()[0]; s.State != Active || !s.Since.IsZero() {
			t.Errorf("status %+v", s)
		}
		after(24 * time.Hour)
		want := []string{
			"WARN sink down waiting=7",
			"WARN sink still down elapsed=1m0s waiting=7",
			"WARN sink still down elapsed=3m0s waiting=7",
			"WARN sink still down elapsed=7m0s waiting=7",
			"WARN sink still down elapsed=15m0s waiting=7",
			"WARN sink still down elapsed=31m0s waiting=7",
			"WARN sink still down elapsed=1h3m0s waiting=7",
			"WARN sink still down elapsed=2h3m0s waiting=7",
			"WARN sink still down elapsed=3h3m0s waiting=7",
			"INFO sink up again elapsed=4h0m5s waiting=7",
		}
		if diff := cmp.Diff(want, r.log.figures()); diff != "" {
			t.Error(diff)
		}
		r.end()
	})
}

// A single item that is refused as if the sink was down opens the breaker whenever it comes by, and the next item closes
// it.
func TestHeldItemBesideOthersThatPassDoesNotFloodTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		feed := newFeed(false, 1)
		feed.late = time.Second
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Sink: sinkFunc(func(_ context.Context, items []sinks.Item) error {
			if number(items[0]) == 0 && !mended.Load() {
				return sinks.Unavailable(errTest)
			}
			return nil
		})})
		for i := range 2160 {
			feed.add(i + 1)
			after(10 * time.Second)
		}
		lines := r.log.all()
		if len(lines) > 15 || !slices.Contains(lines, "WARN sink goes down and comes up again") {
			t.Errorf("%d lines in 6 h: %q", len(lines), r.log.figures())
		}
		mended.Store(true)
		after(steadyTime + time.Minute)
		if s := r.log.figures(); len(s) != len(lines)+1 && len(s) != len(lines)+2 || !slices.Contains([]string{"INFO sink up again"}, r.log.all()[len(s)-1]) {
			t.Errorf("the end of it: %q", s[len(lines):])
		}
		r.end()
	})
}

// spoken is an outage with the book that it writes to.
func spoken() (*outage, *logBook) {
	book := &logBook{}
	return &outage{log: slog.New(book)}, book
}

func TestSecondOutageSoonAfterTheFirstLagsNoMoreThanTheLadder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, book := spoken()
		step := func(change int, wait time.Duration) {
			if now := time.Now(); change%2 == 1 {
				o.isDown(change, symptom{err: errTest}, now)
			} else {
				o.isUp(change, now)
			}
			after(wait)
		}
		step(1, 3*time.Hour)
		step(2, 30*time.Second)
		step(3, 40*time.Second) // too soon for a line: it comes 30 s later
		step(4, time.Second)    // that one waits for up to two minutes
		step(5, 5*time.Minute)
		step(6, time.Hour)
		step(7, time.Second) // all is forgotten
		step(8, 0)
		lines := book.figures()
		want := []string{
			"INFO sink up again elapsed=3h0m0s",
			"WARN sink down elapsed=30s",
			"WARN sink goes down and comes up again elapsed=3h3m0s n=1",
			"INFO sink up again elapsed=3h6m11s n=3",
			"WARN sink down",
			"INFO sink up again elapsed=1s",
		}
		i := slices.Index(lines, want[0])
		if i < 0 || lines[i-1] != "WARN sink still down elapsed=2h3m0s" {
			t.Fatalf("log %q", lines)
		}
		if diff := cmp.Diff(want, lines[i:]); diff != "" {
			t.Error(diff)
		}
		o.forget(9)
	})
}

func TestChangeThatIsToldTooLateIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, book := spoken()
		o.isUp(2, time.Now())
		o.isDown(1, symptom{err: errTest}, time.Now())
		after(24 * time.Hour)
		if lines := book.all(); len(lines) > 0 {
			t.Errorf("log %q", lines)
		}
	})
}

func TestPauseEndsAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := newFeed(true, 1)
		began := time.Now()
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Pause: feed.pause, Sink: sinkFunc(func(context.Context, []sinks.Item) error {
			if time.Since(began) < 30*time.Second {
				return sinks.Unavailable(errTest)
			}
			return sinks.Gone(errTest)
		})})
		after(time.Hour)
		if diff := cmp.Diff([]string{"WARN sink down", "ERROR sink paused: its destination is gone"}, r.log.all()); diff != "" {
			t.Error(diff)
		}
		r.end()
	})
}

func TestDeadLettersAreLoggedAtGrowingIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := newFeed(true, 0)
		r := start(t, Options{}, Sink{Name: "s", Feed: feed, Sink: sinkFunc(func(context.Context, []sinks.Item) error { return sinks.Permanent(errTest) })})
		for i := range 1200 {
			feed.add(i)
			after(time.Second)
		}
		want := []string{
			"WARN dead letter",
			"WARN more dead letters n=60",
			"WARN more dead letters n=120",
			"WARN more dead letters n=240",
			"WARN more dead letters n=480",
		}
		if lines := r.log.figures(); len(lines) != len(want) {
			t.Errorf("log %q", lines)
		}
		after(16*time.Minute + time.Hour) // the rest, and then nothing for a whole interval
		feed.add(1200)
		after(time.Second)
		if lines := r.log.all(); len(lines) != len(want)+2 || lines[len(want)+1] != "WARN dead letter" {
			t.Errorf("log %q", lines)
		}
		feed.add(1201)
		after(time.Minute) // and the intervals begin anew
		if lines := r.log.figures(); len(lines) != len(want)+3 || lines[len(want)+2] != "WARN more dead letters n=1" {
			t.Errorf("log %q", lines)
		}
		r.end()
	})
}

func TestLaneThatIsHeldAgainAndAgainDoesNotFloodTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{}, Sink{Name: "s", Feed: newFeed(false, 100), Timeout: time.Second, Breaker: Breaker{Failures: -1}, Retry: &Retry{MaxRetries: -1},
			Sink: sinkFunc(func(context.Context, []sinks.Item) error {
				time.Sleep(30 * time.Second)
				return nil
			})})
		after(6 * time.Hour)
		held := slices.DeleteFunc(r.log.all(), func(line string) bool { return line[:5] != "ERROR" })
		if len(held) < 2 || len(held) > 13 {
			t.Errorf("%d lines in 6 h that it is held", len(held))
		}
		r.end()
		after(time.Minute) // those that were abandoned come back
	})
}
