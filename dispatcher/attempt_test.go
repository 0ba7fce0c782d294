package dispatcher

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/sinks"
)

// Guarantee C4, in part: a probe whose watch went off before it began says nothing of the destination, and another may
// be made. Else nothing would pass any more.
func TestProbeThatNeverBeganIsWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feed := newFeed(true, 1)
		s, err := Sink{Name: "s", Feed: feed, Sink: sinkFunc(func(context.Context, []sinks.Item) error { t.Error("attempted"); return nil })}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		l := newLane(s, Options{Log: slog.New(slog.DiscardHandler)}.withDefaults(), newMetrics().lane("s"))
		l.shift = shift{stopping: func() bool { time.Sleep(time.Hour); return false }} // the machine is that slow
		l.breaker.unavailable(time.Now().Add(-time.Hour), 0, false)
		l.settled()
		w := l.enlist(nil)
		if !l.take(t.Context(), w) || !w.probe {
			t.Fatal("no probe was taken")
		}
		if got := w.attempt(t.Context()); got != expired {
			t.Errorf("the worker is %d, want expired", got)
		}
		if feed.items[0].returned != 1 || l.breaker.state != open {
			t.Errorf("returned %d times, breaker %d", feed.items[0].returned, l.breaker.state)
		}
		if next := l.enlist(w); !l.take(t.Context(), next) || !next.probe {
			t.Error("no other probe is made")
		}
	})
}
