package queue

import "time"

// plausible is how long a machine may have been off for the wall clock to be believed at start.
const plausible = 366 * 24 * time.Hour

// A clock is queue time, in ms: it looks like the wall clock's, and never steps. While the process runs it follows the
// monotonic clock; at start it goes on from what was stored, moved up to the wall clock if that is plausible. Safe for
// concurrent use.
type clock struct {
	base  int64
	start time.Time
}

func newClock(stored int64, now time.Time) clock {
	wall := now.UnixMilli()
	if stored == 0 {
		return clock{wall, now}
	}
	return clock{stored + elapsed(stored, wall), now}
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

// wall is when, as the wall clock goes now, a moment of queue time will be or was.
func (c clock) wall(at int64) time.Time {
	return time.Now().Add(time.Duration(at-c.now()) * time.Millisecond)
}
