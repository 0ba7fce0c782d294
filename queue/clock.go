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
	if off := wall - stored; stored == 0 || 0 < off && off <= plausible.Milliseconds() {
		return clock{wall, now}
	}
	return clock{stored, now}
}

// now is ms of queue time.
func (c clock) now() int64 { return c.base + time.Since(c.start).Milliseconds() }

// wall is when, as the wall clock goes now, a moment of queue time will be or was.
func (c clock) wall(at int64) time.Time {
	return time.Now().Add(time.Duration(at-c.now()) * time.Millisecond)
}
