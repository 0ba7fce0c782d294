package queue

import "time"

// firstQuiet and longestQuiet are how often the log repeats itself about one trouble: a minute after the first line, and each
// time after twice as long, up to an hour.
const firstQuiet, longestQuiet = time.Minute, time.Hour

// A Ladder spaces the lines of the log about one trouble. The zero value lets the first one pass. Not safe for concurrent
// use.
type Ladder struct {
	Until time.Time     // no line before
	Quiet time.Duration // between the last line and that
}

// Step notes that a line was written.
func (l *Ladder) Step(now time.Time) {
	l.Quiet = min(max(2*l.Quiet, firstQuiet), longestQuiet)
	l.Until = now.Add(l.Quiet)
}
