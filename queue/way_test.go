package queue

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A feed that reads the log lets a group commit end, but not for long, and not each time.
func TestBacklogMakesWayForACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &queue{all: &Queues{fresh: newFresh(1, 1)}, wake: make(chan struct{}, 1)}
		way := func(handed, came int, behind, commits bool, ends time.Duration) time.Duration {
			u.handed, u.wayAt = handed, u.all.fresh.end()
			u.all.fresh.next += uint64(came)
			u.behind.Store(behind)
			began := time.Now()
			if u.all.appends.Store(nil); commits {
				u.all.appends.Store(&began)
				time.AfterFunc(ends, func() { u.all.appends.Store(nil); poke(u.wake) })
			}
			poke(u.wake) // a message of something else
			u.makeWay(t.Context())
			took := time.Since(began)
			time.Sleep(time.Second) // until the commit has ended
			return took
		}
		for _, c := range []struct {
			handed, came    int
			behind, commits bool
			ends, want      time.Duration
		}{
			{wayEvery, wayEvery / 2, true, true, wayTime / 4, wayTime/4 + wayAfter},
			{wayEvery, 0, true, true, 10 * wayTime, wayTime + wayAfter},
			{wayEvery, wayEvery/2 + 1, true, true, wayTime, 0}, // it would fall behind further
			{wayEvery, 0, true, false, 0, 0},
			{wayEvery, 0, false, true, wayTime, 0},
			{wayEvery - 1, 0, true, true, wayTime, 0},
		} {
			if took := way(c.handed, c.came, c.behind, c.commits, c.ends); took != c.want {
				t.Errorf("%+v: it took %v", c, took)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), wayTime/2)
		defer cancel()
		now := time.Now()
		u.handed, u.wayAt = wayEvery, u.all.fresh.end()
		u.behind.Store(true)
		u.all.appends.Store(&now)
		if u.makeWay(ctx); time.Since(now) != wayTime/2 {
			t.Errorf("its context ended, and it waited for %v", time.Since(now))
		}
	})
}
