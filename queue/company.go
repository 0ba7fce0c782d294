package queue

import (
	"context"
	"sync/atomic"
	"time"
)

// A company is the producers that a group commit may wait for. A flush costs the same whatever is in it, and who was
// answered a moment ago is often back at once: 64 producers that put one item each make one group of 60 so, and two of 32
// without, with 1.2 times the items a second for 0.7 of the CPU.
//
// A group waits until as many requests are there as were answered last, with those that had come meanwhile; but at most half
// as long as the last write took, and no longer than longest. After a wait in vain the next groups do not wait: 1, 3, 7 and
// so on up to 63 of them.
type company struct {
	here chan struct{} // holds a message when as many are there as are wanted
	want atomic.Int32  // 0: the committer does not wait

	// The committer's.
	expected int
	patience time.Duration
	misses   int // groups that do not wait after the last wait in vain
	skip     int // of those, how many are left
}

// longest is for a disk that hung: the next group does not wait as long again.
const longest = 5 * time.Millisecond

// came is told of each request how many now wait for the committer.
func (c *company) came(waiting int) {
	if want := int(c.want.Load()); want > 0 && waiting >= want {
		poke(c.here)
	}
}

// wrote is told of each group that was written, before it is answered: how many requests it has, and how many wait.
func (c *company) wrote(requests, waiting int, took time.Duration) {
	c.expected, c.patience = requests+waiting, min(took/2, longest)
}

// wait returns when those who are expected beyond a group's requests are there, or as many as can be, and when it is not
// worth it, or ctx ends.
func (c *company) wait(ctx context.Context, requests int, waiting func() int) {
	more := min(c.expected-requests, maxRequests)
	if more <= 0 || waiting() >= more {
		return
	}
	if c.skip > 0 {
		c.skip--
		return
	}
	c.want.Store(int32(more))
	defer c.want.Store(0)
	t := time.NewTimer(c.patience)
	defer t.Stop()
	for waiting() < more {
		select {
		case <-c.here:
		case <-t.C:
			c.misses = min(2*c.misses+1, 63)
			c.skip = c.misses
			return
		case <-ctx.Done():
			return
		}
	}
	c.misses = 0
}
