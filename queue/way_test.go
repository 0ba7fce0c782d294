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
		u := &queue{all: &Queues{}, wake: make(chan struct{}, 1)}
		way := func(handed int, behind, commits bool, ends time.Duration) time.Duration {
			u.handed = handed
			u.behind.Store(behind)
			began := time.Now()
			if u.all.appends.Store(nil); commits {
				u.all.appends.Store(&began)
				time.AfterFunc(ends, func() { u.all.appends.Store(nil); poke(u.wake) })
			}
			poke(u.wake) // a message of something else
			if err := u.makeWay(t.Context()); err != nil {
				t.Error(err)
			}
			took := time.Since(began)
			time.Sleep(time.Second) // until the commit has ended
			return took
		}
		for _, c := range []struct {
			handed          int
			behind, commits bool
			ends, want      time.Duration
		}{
			{wayEvery, true, true, wayTime / 4, wayTime/4 + wayAfter},
			{wayEvery, true, true, 10 * wayTime, wayTime + wayAfter},
			{wayEvery, true, false, 0, 0},
			{wayEvery, false, true, wayTime, 0},
			{wayEvery - 1, true, true, wayTime, 0},
		} {
			if took := way(c.handed, c.behind, c.commits, c.ends); took != c.want {
				t.Errorf("%+v: it took %v", c, took)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		now := time.Now()
		u.handed = wayEvery
		u.behind.Store(true)
		u.all.appends.Store(&now)
		<-u.wake
		if err := u.makeWay(ctx); err == nil {
			t.Error("a feed that stops waits on")
		}
	})
}
