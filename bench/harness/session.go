package harness

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
)

// Options are how a session measures. The zero value of a field is its default.
type Options struct {
	Dir      string    // where to make scratch data; default: the working directory. A file system in memory is refused
	Rounds   int       // to keep; default 5
	Smoke    bool      // only whether everything runs: no round is thrown away, and an item that comes twice is an error
	Progress io.Writer // a line for each round; default: nowhere
}

// A Session is one run of a harness on one disk.
type Session struct {
	Options
	Scratch string // a directory of its own, gone after Close
	began   time.Time
}

// NewSession makes the scratch directory. It fails where there is no disk below it.
func NewSession(o Options) (*Session, error) {
	if o.Dir == "" {
		o.Dir = "."
	}
	if o.Rounds == 0 {
		o.Rounds = 5
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if OnMemory(o.Dir) {
		return nil, fmt.Errorf("%s is in memory: a disk is wanted, for there is nothing to flush otherwise", o.Dir)
	}
	scratch, err := os.MkdirTemp(o.Dir, "holdfast-bench-")
	if err != nil {
		return nil, err
	}
	return &Session{Options: o, Scratch: scratch, began: time.Now()}, nil
}

// Close removes the scratch directory.
func (s *Session) Close() error { return os.RemoveAll(s.Scratch) }

// Took is how long the session has lasted.
func (s *Session) Took() time.Duration { return time.Since(s.began) }

// Tell writes a line of progress.
func (s *Session) Tell(format string, args ...any) {
	fmt.Fprintf(s.Progress, "%4.0f s  %s\n", s.Took().Seconds(), fmt.Sprintf(format, args...))
}

// InScratch runs do with a directory of its own that is gone afterwards.
func (s *Session) InScratch(do func(dir string) error) error {
	dir, err := os.MkdirTemp(s.Scratch, "run-")
	if err != nil {
		return err
	}
	return errors.Join(do(dir), os.RemoveAll(dir))
}

// Judge is the verdict of a run that has ended. It fails where something is missing, came that nobody sent, or, with
// Smoke, came twice.
func (s *Session) Judge(t *Tally) (Verdict, error) {
	v, err := t.Verdict()
	if err == nil && s.Smoke && v.Duplicates > 0 {
		err = fmt.Errorf("%d deliveries came twice, and nothing was retried", v.Duplicates)
	}
	return v, err
}

// A Quiet watches what other processes take.
type Quiet struct {
	began     time.Time
	busy, own time.Duration
}

// StartQuiet begins to watch. The children of this process must have ended when it looks, for their share to be known.
func StartQuiet() Quiet { return Quiet{time.Now(), busyCPU(), ownCPU()} }

// Foreign is how many cores other processes than this one and its children, which have ended, took on average. It is 0
// where so little time has gone by that the system's ticks tell nothing.
func (q Quiet) Foreign() float64 {
	took := time.Since(q.began)
	if took < 10*tick {
		return 0
	}
	f := (busyCPU() - q.busy) - (ownCPU() - q.own)
	return min(max(0, f.Seconds()/took.Seconds()), float64(runtime.NumCPU()))
}

// Noisy says whether that was too much for any figure to prove something.
func (q Quiet) Noisy() bool { return q.Foreign() > foreignCores }
