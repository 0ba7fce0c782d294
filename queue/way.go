package queue

import (
	"context"
	"time"
)

// A feed that reads the log lets a group commit under way end before it hands out more, once in wayEvery deliveries, and
// those whom that answers go first: what has waited for long can wait for that, and a producer should not have to share the
// processors with a whole backlog. Accepts keep three quarters of their rate so while three sinks drain a million items, and
// half without. A feed that is not twice as fast as the accepts does not wait: its backlog must not grow.
const (
	wayEvery = 256
	wayTime  = 2 * time.Millisecond // at most
	wayAfter = 500 * time.Microsecond
)

// makeWay waits for the group commit, if it must and until ctx ends.
func (u *queue) makeWay(ctx context.Context) {
	if u.handed < wayEvery || !u.behind.Load() {
		return
	}
	handed, published := u.handed, u.all.fresh.end()
	came := published - u.wayAt
	u.handed, u.wayAt = 0, published
	if uint64(handed) < 2*came {
		return
	}
	waited := false
	for until := time.Now().Add(wayTime); u.all.appends.Load() != nil && time.Now().Before(until); waited = true {
		if u.await(ctx, max(0, time.Until(until))) != nil {
			return
		}
	}
	if !waited {
		return
	}
	t := time.NewTimer(wayAfter)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
