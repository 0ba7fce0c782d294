package dispatcher

import (
	"log/slog"
	"math"
	"sync"
	"time"

	"holdfast/queue"
)

// report writes a lane's log: a line for each change of state, none for each attempt.
type report struct {
	log    *slog.Logger
	outage outage

	mu      sync.Mutex   // guards what follows
	trace   bool         // a panic's stack was logged
	held    queue.Ladder // of the lines that the lane is held
	graves  queue.Ladder // of those of dead letters
	uncited int          // dead letters that are only counted
	last    []any        // the last of them
	later   *time.Timer
}

func newReport(log *slog.Logger, s Sink) *report {
	log = log.With("sink", s.Name)
	return &report{log: log, outage: outage{log: log, waiting: s.Waiting}}
}

func (r *report) paused(change int, err error) {
	r.outage.forget(change)
	r.log.Error("sink paused: its destination is gone", "err", err)
}

func (r *report) notPaused(err error) {
	r.log.Error("sink not paused though its destination is gone", "err", err)
}

// holds logs that the lane is held, at growing intervals while that happens again.
func (r *report) holds(n int, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Before(r.held.Until) {
		return
	}
	if now.Sub(r.held.Until) >= steadyTime {
		r.held = queue.Ladder{}
	}
	r.held.Step(now)
	r.log.Error("sink ignores its deadlines: it is held until an attempt returns", "n", n)
}

func (r *report) leftBehind(n int) {
	r.log.Warn("sink ignores the stop: attempts are left behind, their items stay in the queue", "n", n)
}

func (r *report) halved(n int, err error) {
	r.log.Debug("batch failed and is attempted in halves", "n", n, "err", err)
}

func (r *report) retried(d queue.Delivery, o queue.Outcome) {
	r.log.Debug("delivery put off", "id", d.ID, "attempt", d.Attempts+1, "due", o.After, "err", o.Err)
}

// panicked logs the first panic of a lane with its stack; the others are in the error texts.
func (r *report) panicked(e *panicError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.trace {
		r.trace = true
		r.log.Error("sink panicked", "err", e, "stack", string(e.stack))
	}
}

// dead logs the first dead letter, and then how many followed, at growing intervals until there are none.
func (r *report) dead(d queue.Delivery, o queue.Outcome, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	about := []any{"id", d.ID, "attempt", d.Attempts + 1, "err", o.Err}
	if now.Before(r.graves.Until) {
		r.uncited++
		r.last = about
		return
	}
	r.log.Warn("dead letter", about...)
	r.next(now)
}

// next has what follows counted for a while. mu is held.
func (r *report) next(now time.Time) {
	r.graves.Step(now)
	r.later = time.AfterFunc(r.graves.Quiet, r.tally)
}

// tally logs what was only counted, if anything was, and counts on.
func (r *report) tally() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cite() {
		r.next(time.Now())
		return
	}
	r.graves = queue.Ladder{}
}

// cite logs how many dead letters were only counted, and the last of them. mu is held.
func (r *report) cite() bool {
	if r.uncited == 0 {
		return false
	}
	r.log.Warn("more dead letters", append([]any{"n", r.uncited}, r.last...)...)
	r.uncited, r.last = 0, nil
	return true
}

// flush ends the report: it logs what was only counted.
func (r *report) flush() {
	r.outage.forget(math.MaxInt)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.later != nil {
		r.later.Stop()
	}
	r.cite()
}
