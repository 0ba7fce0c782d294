package queue_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/queue"
)

// Guarantees C5, C6: attempts, times and errors survive a stop and a crash, and nothing is handed out before its time.
func TestRetryStateSurvivesRestartAndCrash(t *testing.T) {
	for what, again := range map[string]func(*bench){"restart": (*bench).restart, "crash": (*bench).crash} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, named("a")...)
				id := b.put("x")[0].ID
				var first time.Time
				for n := range 4 {
					d := b.take("a", 1)[0]
					if d.Attempts != n || !d.First.Equal(first) {
						t.Errorf("attempt %d: %+v", n, d)
					}
					if n == 0 {
						first = time.Now()
					}
					next := time.Now().Add(10 * time.Second)
					b.settle("a", queue.Outcome{Kind: queue.Retry, After: 10 * time.Second, Err: fmt.Sprint("e", n)}, d)
					b.flush()
					time.Sleep(3 * time.Second)
					again(b)
					p := b.state(id, "a")
					if p.State != "retrying" || p.Attempts != n+1 || p.LastError != fmt.Sprint("e", n) || p.Next.Sub(next).Abs() > time.Millisecond {
						t.Errorf("attempt %d: %+v, want next %v", n, p, next)
					}
					equal(t, "waiting", b.status("a").Waiting, 1)
					b.none("a")
					time.Sleep(7*time.Second - 2*time.Millisecond)
					b.none("a")
					time.Sleep(4 * time.Millisecond)
				}
				equal(t, "then", b.drain("a"), []string{"x"})
				b.stop()
			})
		})
	}
}

// Guarantee C6: as of the last mark commit.
func TestRetryThatWasNotMarkedIsRepeated(t *testing.T) {
	b := newBenchOf(t, lazily(named("a")...))
	b.put("x")
	b.settle("a", queue.Outcome{Kind: queue.Retry, After: time.Hour}, b.take("a", 1)...)
	b.crash()
	equal(t, "attempts", b.take("a", 1)[0].Attempts, 0)
}

// Guarantee C4, in part: a hold spends nothing, and a long one (Retry-After) survives a restart.
func TestHoldSpendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, named("a")...)
		id := b.put("x")[0].ID
		for range 20 {
			d := b.take("a", 1)[0]
			equal(t, "attempts", d.Attempts, 0)
			b.settle("a", queue.Outcome{Kind: queue.Hold, After: 5 * time.Second, Err: "down"}, d)
			time.Sleep(5 * time.Second)
		}
		b.settle("a", queue.Outcome{Kind: queue.Retry, Err: "no"}, b.take("a", 1)...)
		b.settle("a", queue.Outcome{Kind: queue.Hold, After: time.Hour, Err: "later"}, b.take("a", 1)...)
		b.flush()
		b.crash()
		p := b.state(id, "a")
		if p.Attempts != 1 || p.LastError != "later" || p.State != "retrying" {
			t.Errorf("%+v", p)
		}
		time.Sleep(time.Hour - time.Second)
		b.none("a")
		time.Sleep(time.Second)
		equal(t, "attempts", b.take("a", 1)[0].Attempts, 1)
		b.stop()
	})
}

// Guarantee C4, in part: a sink that is down costs one commit, not one for each probe.
func TestProbesOfASinkThatIsDownAreNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, named("a")...)
		b.put("x")
		probe := func() {
			b.settle("a", queue.Outcome{Kind: queue.Hold, After: 5 * time.Second, Err: "down"}, b.take("a", 1)...)
			time.Sleep(5 * time.Second)
		}
		probe()
		before := b.st.Written()
		for range 100 {
			probe()
		}
		equal(t, "bytes written", b.st.Written()-before, 0)
		b.crash()
		equal(t, "attempts", b.take("a", 1)[0].Attempts, 0)
		b.stop()
	})
}

// Guarantee C6: a clock that was wrong cannot park an item for years.
func TestNextAttemptIsNeverFurtherThanADayAfterAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, named("a")...)
		b.put("x")
		b.settle("a", queue.Outcome{Kind: queue.Retry, After: 10 * 365 * 24 * time.Hour}, b.take("a", 1)...)
		b.restart()
		time.Sleep(24*time.Hour - time.Second)
		b.none("a")
		time.Sleep(2 * time.Second)
		equal(t, "then", b.drain("a"), []string{"x"})
		b.stop()
	})
}

func TestLaneIsWokenWhenARetryIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, none("a", 10))
		b.put("0", "1")
		ds := b.take("a", 2)
		b.settle("a", queue.Outcome{Kind: queue.Retry, After: 8 * time.Second}, ds[0])
		b.settle("a", queue.Outcome{Kind: queue.Retry, After: 5 * time.Second}, ds[1])
		began := time.Now()
		for _, want := range []struct {
			text  string
			after time.Duration
		}{{"1", 5 * time.Second}, {"0", 8 * time.Second}} {
			d := b.take("a", 1)
			equal(t, "text", texts(d), []string{want.text})
			equal(t, "after", time.Since(began), want.after)
			b.settle("a", done, d...)
		}
		b.stop()
	})
}

// Guarantee E2, in part: what was returned leaves no trace, and comes again in its place.
func TestReturnedDeliveryLeavesNoTrace(t *testing.T) {
	b := newBench(t, none("a", 100))
	ids := b.fill(5, 10)
	ds := b.take("a", 4)
	b.settle("a", queue.Outcome{Kind: queue.Retry, Err: "no"}, ds[3])
	ds = append(ds[:3], b.take("a", 1)...)
	equal(t, "taken", texts(ds), numbers(0, 4))
	for _, i := range []int{2, 0, 3, 1} {
		b.feed("a").Return(ds[i])
	}
	equal(t, "in flight", b.status("a").InFlight, 0)
	b.flush()
	ds = b.take("a", 5)
	equal(t, "again", texts(ds), numbers(0, 5))
	for i, d := range ds {
		want := 0
		if i == 3 {
			want = 1
		}
		equal(t, "attempts", []any{d.Attempts, d.First.IsZero()}, []any{want, i != 3})
		equal(t, "state", b.state(ids[i], "a").State, "in_flight")
	}
}

func TestSecondSettleChangesNothing(t *testing.T) {
	b := newBench(t, none("a", 100))
	ids := b.fill(2, 10)
	ds := b.take("a", 2)
	b.settle("a", done, ds[0], ds[0])
	b.settle("a", queue.Outcome{Kind: queue.Retry}, ds[1], ds[1])
	old := ds[1]
	row := b.take("a", 1)[0]
	equal(t, "attempts", row.Attempts, 1)
	b.settle("a", buried("of the attempt before"), old)
	old = row
	b.settle("a", queue.Outcome{Kind: queue.Retry}, row)
	row = b.take("a", 1)[0]
	b.settle("a", buried("of the attempt before"), old)
	equal(t, "state", b.state(ids[1], "a").State, "in_flight")
	b.settle("a", done, row)
	b.settle("a", done, row)
	b.settle("a", buried("late"), row, ds[0])
	b.feed("a").Return(row)
	b.none("a")
	b.flush()
	s := b.status("a")
	equal(t, "books", []int64{s.Waiting, s.Settled, s.Dead, s.Delivered, int64(s.InFlight)}, []int64{0, 2, 0, 2, 0})
}
