package queue

import "time"

// plausible is how long a machine may have been off for the wall clock to be believed at start.
const plausible = 366 * 24 * time.Hour

// A clock is queue time, in ms: it looks like the wall clock's, and never steps. While the process runs it follows the
// monotonic clock; at start it goes on from what was stored, moved up by how far the wall clock went since then, if that is
// plausible. What the wall clock said when queue time was stored is stored with it: so a step of it while the process ran
// is not taken for time that the machine was off. Safe for concurrent use.
type clock struct {
	base  int64
	start time.Time
	look  func() time.Time // at the wall clock

	queue0, wall0 int64 // the stored moment
}

// newClock goes on from a stored moment of queue time, and of the wall clock; 0: what it was is not known, and queue time
// is as near as there is.
func newClock(queue, wall int64, look func() time.Time) clock {
	now := look()
	c := clock{base: now.UnixMilli(), start: time.Now(), look: look}
	if queue == 0 {
		return c
	}
	if wall == 0 {
		wall = queue
	}
	c.base, c.queue0, c.wall0 = queue+elapsed(wall, now.UnixMilli()), queue, wall
	return c
}

// elapsed is how long, in ms, it was between two times of the wall clock, which may have stepped: nothing where that is
// not plausible.
func elapsed(from, to int64) int64 {
	if d := to - from; 0 < d && d <= plausible.Milliseconds() {
		return d
	}
	return 0
}

// now is ms of queue time.
func (c clock) now() int64 { return c.base + time.Since(c.start).Milliseconds() }

// stamp is queue time and the wall clock's, as a commit stores them: read at one moment. A wall clock that is further behind
// than is plausible, as after a boot in 1970, is not believed: it counts as one that went on.
func (c clock) stamp() (queue, wall int64) {
	queue, wall = c.now(), c.look().UnixMilli()
	if c.queue0-wall > plausible.Milliseconds() {
		wall = c.wall0 + queue - c.queue0
	}
	return queue, wall
}

// wall is when, as the wall clock goes now, a moment of queue time will be or was.
func (c clock) wall(at int64) time.Time {
	return c.look().Add(time.Duration(at-c.now()) * time.Millisecond)
}
