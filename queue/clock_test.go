package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/store"
)

// Guarantee G10, in part: queue time goes on from what was stored, and believes the wall clock only forwards and only so
// far. What it was when queue time was stored is stored with it, but not by early programs.
func TestQueueTimeGoesOnAfterAStart(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	wall := now.UnixMilli()
	day := (24 * time.Hour).Milliseconds()
	for _, c := range []struct {
		what               string
		queue, wall0, want int64
	}{
		{"nothing stored", 0, 0, wall},
		{"off for a minute", wall - 60_000, 0, wall},
		{"off for a year", wall - 366*day, 0, wall},
		{"off for longer than is plausible", wall - 366*day - 1, 0, wall - 366*day - 1},
		{"booted in 1970", wall + 56*365*day, 0, wall + 56*365*day},
		{"stepped back a day", wall + day, 0, wall + day},
		{"the same moment", wall, 0, wall},
		{"off for a minute, after a day's step forward", wall - day - 60_000, wall - 60_000, wall - day},
		{"off for a minute, after a day's step back", wall + day - 60_000, wall - 60_000, wall + day},
		{"off for a minute, after a boot in 1970", 60_000, wall - 60_000, 120_000},
		{"stepped back a day while it was off", wall - 3*day, wall + day, wall - 3*day},
		{"off for longer than is plausible, with the wall clock's time", wall, wall - 366*day - 1, wall},
	} {
		look := func() time.Time { return now }
		if got := newClock(c.queue, c.wall0, look).base; got != c.want {
			t.Errorf("%s: starts at %d, want %d", c.what, got, c.want)
		}
	}
}

func TestQueueTimeFollowsTheMonotonicClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock(time.Now().UnixMilli()+5000, 0, time.Now)
		began := c.now()
		time.Sleep(90 * time.Second)
		if got := c.now() - began; got != 90_000 {
			t.Errorf("90 s took %d ms", got)
		}
		if got, want := c.wall(c.now()+1000), time.Now().Add(time.Second); !got.Equal(want) {
			t.Errorf("a second from now is %v, want %v", got, want)
		}
	})
}

// Guarantee G10: a step of the wall clock while the process runs, forward or back, is not taken for time that the machine
// was off: what has two days to live has them, by the clock that does not step.
func TestStepOfTheWallClockWithinALifeIsNoTimeOff(t *testing.T) {
	const off, ttl = time.Hour, 48 * time.Hour
	for _, step := range []time.Duration{0, 24 * time.Hour, 72 * time.Hour, 300 * 24 * time.Hour, -24 * time.Hour, -72 * time.Hour} {
		for _, idle := range []bool{false, true} { // no commit follows the step, but that of the stop
			t.Run(fmt.Sprint(step, " idle ", idle), func(t *testing.T) {
				dir, first := t.TempDir(), 1000*24*time.Hour
				wallLife(t, dir, first, func(t *testing.T, q *Queues, set func(time.Duration)) {
					putMortal(t, q, ttl)
					time.Sleep(10 * time.Second) // and the marks are made
					set(step)
					if !idle {
						putMortal(t, q, time.Minute)
						time.Sleep(10 * time.Second)
					}
				})
				wallLife(t, dir, first+step+off, func(t *testing.T, q *Queues, _ func(time.Duration)) {
					time.Sleep(ttl - off - time.Hour)
					if n := deliverable(t, q); n != 1 {
						t.Errorf("an hour before it expires %d items are handed out", n)
					}
					time.Sleep(2 * time.Hour)
					if n := deliverable(t, q); n != 0 {
						t.Errorf("an hour after it has expired %d items are handed out", n)
					}
				})
			})
		}
	}
}

// Guarantee G10, in part: what a boot in the far past stores does not hide how long the machine is off after it.
func TestABootInTheFarPastHidesNoTimeOff(t *testing.T) {
	const at, ttl = 1000 * 24 * time.Hour, 48 * time.Hour
	dir := t.TempDir()
	settleOne := func(t *testing.T, q *Queues) {
		putMortal(t, q, time.Hour)
		f, err := q.Feed("b")
		check(t, err)
		ds, err := f.Next(t.Context(), nil, 1)
		check(t, err)
		f.SettleAll(ds, Outcome{Kind: Done})
		time.Sleep(10 * time.Second)
	}
	wallLife(t, dir, at, func(t *testing.T, q *Queues, _ func(time.Duration)) {
		putMortal(t, q, ttl)
		settleOne(t, q)
	})
	wallLife(t, dir, time.Minute, func(t *testing.T, q *Queues, _ func(time.Duration)) { settleOne(t, q) })
	wallLife(t, dir, at+24*time.Hour, func(t *testing.T, q *Queues, _ func(time.Duration)) {
		time.Sleep(23 * time.Hour)
		if n := deliverable(t, q); n != 1 {
			t.Errorf("an hour before it expires %d items are handed out", n)
		}
		time.Sleep(2 * time.Hour)
		if n := deliverable(t, q); n != 0 {
			t.Errorf("an hour after it has expired %d items are handed out", n)
		}
	})
}

// wallLife is one run of a queue, in a bubble with a clock of its own. set makes the wall clock step.
func wallLife(t *testing.T, dir string, at time.Duration, do func(t *testing.T, q *Queues, set func(time.Duration))) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(at)
		d, err := store.LockDir(dir)
		check(t, err)
		if there, err := store.Exists(dir); err != nil || !there {
			check(t, errors.Join(err, store.Create(d, [16]byte{1})))
		}
		st, err := store.Open(d, store.Options{})
		check(t, err)
		var step atomic.Int64
		q, err := Open(st, Options{Sinks: []SinkOptions{{Name: "a", Order: None}, {Name: "b", Order: None}}, MarkDelay: time.Second,
			look: func() time.Time { return time.Now().Add(time.Duration(step.Load())) }})
		check(t, err)
		ctx, stop := context.WithCancel(t.Context())
		var runs sync.WaitGroup
		runs.Go(func() { err = q.Run(ctx) })
		do(t, q, func(by time.Duration) { step.Store(int64(by)) })
		stop()
		runs.Wait()
		check(t, errors.Join(err, st.Close()))
	})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func putMortal(t *testing.T, q *Queues, ttl time.Duration) {
	t.Helper()
	_, err := q.Put(t.Context(), Request{Source: "test", Items: []Item{{Body: []byte("mortal"), TTL: ttl}}})
	check(t, err)
}

// deliverable is how many items a sink would be handed now.
func deliverable(t *testing.T, q *Queues) int {
	t.Helper()
	f, err := q.Feed("a")
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	ds, err := f.Next(ctx, nil, 10)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	for _, d := range ds {
		f.Return(d)
	}
	return len(ds)
}

// Guarantee G10, in part: a wall clock that was once far ahead is believed when it is right again.
func TestAWallClockThatWasAheadIsBelievedAgain(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	queue, wall := now.UnixMilli(), now.AddDate(73, 0, 0).UnixMilli() // the last commit of a process that was killed
	for start := range 3 {
		q, w := newClock(queue, wall, func() time.Time { return now }).stamp()
		if off := time.Duration(q-queue) * time.Millisecond; start > 0 && off < 9*24*time.Hour {
			t.Errorf("start %d: ten days off count as %v", start, off)
		}
		queue, wall, now = q, w, now.AddDate(0, 0, 10)
	}
}
