package dispatcher

import (
	"log/slog"
	"sync"
	"time"

	"holdfast/queue"
)

// quietTime is how long dead letters after the first are only counted.
const quietTime = time.Minute

// report writes a lane's log: a line for each change of state, none for each attempt.
type report struct {
	log *slog.Logger

	mu      sync.Mutex // guards what follows
	trace   bool       // a panic's stack was logged
	quiet   time.Time  // until then dead letters are counted
	uncited int        // those that were
	later   *time.Timer
}

func newReport(log *slog.Logger, sink string) *report {
	return &report{log: log.With("sink", sink)}
}

func (r *report) down(err error, next time.Time) {
	r.log.Warn("sink down", "err", err, "due", next)
}

func (r *report) up(elapsed time.Duration) { r.log.Info("sink up again", "elapsed", elapsed) }

func (r *report) paused(err error) {
	r.log.Error("sink paused: its destination is gone", "err", err)
}

func (r *report) notPaused(err error) {
	r.log.Error("sink not paused though its destination is gone", "err", err)
}

func (r *report) holds(n int) {
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

// dead logs the first dead letter, and then how many followed, once a minute.
func (r *report) dead(d queue.Delivery, o queue.Outcome, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !now.Before(r.quiet) {
		r.quiet = now.Add(quietTime)
		r.log.Warn("dead letter", "id", d.ID, "attempt", d.Attempts+1, "err", o.Err)
		return
	}
	if r.uncited++; r.uncited == 1 {
		r.later = time.AfterFunc(r.quiet.Sub(now), r.flush)
	}
}

// flush logs what was only counted.
func (r *report) flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.uncited == 0 {
		return
	}
	r.later.Stop()
	r.log.Warn("more dead letters", "n", r.uncited)
	r.uncited = 0
}
