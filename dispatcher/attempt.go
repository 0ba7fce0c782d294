// Step 7 of an item's life: one attempt is made under a deadline, and its result is classified.

package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"holdfast/queue"
	"holdfast/sinks"
)

var (
	errHangs  = errors.New("the sink ignores its deadline")
	errGoexit = errors.New("the sink ended its goroutine")
)

// A panicError is a sink's panic.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// The phases of a worker. Who takes it from trying to lost has its deliveries from then on.
//
//	           begins              returns
//	 ready ─────────────▶ trying ───────────▶ ready
//	   │ the watch          │ the watch, a stop, or the sink ended the goroutine
//	   ▼                    ▼
//	expired                lost
const (
	ready   int32 = iota // between attempts
	trying               // in Deliver
	expired              // its watch is used up: no attempt may begin
	lost                 // abandoned in Deliver
)

// worker attempts what it has taken, a batch at a time. It is one goroutine's until it is lost.
type worker struct {
	lane    *lane
	phase   atomic.Int32
	watch   *time.Timer // fires some time after the deadline of the run that is going on
	taken   []queue.Delivery
	at, end int          // taken[at:end] is attempted, taken[end:] is not yet
	items   []sinks.Item // what the sink sees of it
	probe   bool
	run     int // batches to take next
}

func newWorker(l *lane) *worker {
	w := &worker{lane: l, run: 1}
	w.watch = time.AfterFunc(time.Hour, w.overdue)
	w.watch.Stop()
	return w
}

// attempt attempts what was taken, batch by batch, as long as all goes well and the run takes no time; the rest goes
// back. It returns ready, expired (the worker is to be replaced) or lost (its deliveries are no more its own).
func (w *worker) attempt(parent context.Context) int32 {
	l, limit := w.lane, w.lane.Timeout
	n := l.fit(w.taken)
	if n < len(w.taken) {
		limit += l.runTime
	}
	ctx, cancel := context.WithTimeout(parent, limit)
	defer cancel()
	w.watch.Reset(limit + l.grace)
	began := time.Now()
	now, well := began, true
	for w.end = 0; well && n > 0 && now.Sub(began) < l.runTime && !l.shift.stopping(); n = l.fit(w.taken[w.end:]) {
		if !w.begin(n) {
			break
		}
		err := w.deliver(ctx)
		if !w.phase.CompareAndSwap(trying, ready) {
			return lost
		}
		start := now
		now = time.Now()
		well = w.conclude(ctx, err, start, now)
	}
	return w.finish(well && now.Sub(began) < l.runTime)
}

// begin loads the next n deliveries and leaves it to the sink. It returns false when the watch was faster.
func (w *worker) begin(n int) bool {
	w.at, w.end = w.end, w.end+n
	w.items = w.items[:0]
	for i := range w.taken[w.at:w.end] {
		d := &w.taken[w.at+i]
		item := sinks.Item{
			ID:       d.ID,
			Accepted: time.UnixMilli(d.Item.Time).UTC(),
			Attempt:  d.Attempts + 1,
			Key:      d.Item.Key,
			Body:     d.Item.Body,
		}
		if d.Item.Attrs != "" {
			item.Attrs = &d.Item.Attrs // a pointer, so that the interface costs no allocation
		}
		w.items = append(w.items, item)
	}
	if !w.phase.CompareAndSwap(ready, trying) {
		w.end = w.at
		return false
	}
	w.lane.inFlight.Add(int64(len(w.items)))
	return true
}

// deliver calls the sink, and contains what it may do to its goroutine.
func (w *worker) deliver(ctx context.Context) (err error) {
	back := false
	defer func() {
		if back {
			return
		}
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		} else if w.phase.CompareAndSwap(trying, lost) { // runtime.Goexit: this goroutine is over
			w.lane.takeOver(w, errGoexit, panicked)
		} else {
			w.lane.returned()
		}
	}()
	err = w.lane.Sink.Sink.Deliver(ctx, w.items)
	back = true
	return err
}

// conclude classifies a result and has the lane settle it. It returns whether the run may go on.
func (w *worker) conclude(ctx context.Context, err error, start, now time.Time) bool {
	l := w.lane
	l.inFlight.Add(int64(w.at - w.end))
	l.meters.took(now.Sub(start))
	deliveries := w.taken[w.at:w.end]
	if err == nil {
		l.arrived(deliveries)
		return true
	}
	kind := plainKind(ctx, err)
	if l.shift.cut() {
		kind = cut
	}
	if kind == timedOut {
		err = fmt.Errorf("no result within %v: %w", l.Timeout, err)
	}
	l.conclude(attempt{deliveries: deliveries, err: err, kind: kind, probe: w.probe, ended: now})
	return false
}

// finish ends a run: what was not attempted goes back, nothing is kept alive, and the next run is longer if this one
// went well.
func (w *worker) finish(well bool) int32 {
	w.lane.giveBack(w.taken[w.end:], w.probe && w.end == 0)
	clear(w.taken)
	clear(w.items)
	switch {
	case !well || !w.lane.runs:
		w.run = 1
	default:
		w.run = min(2*w.run, max(longestRun/w.lane.Batch.Items, 1))
	}
	if !w.watch.Stop() {
		return expired
	}
	return ready
}

// overdue is the watch's: the attempt that is being made ignores its deadline.
func (w *worker) overdue() {
	for !w.phase.CompareAndSwap(ready, expired) {
		if w.phase.CompareAndSwap(trying, lost) {
			w.lane.abandon(w)
			return
		}
		if p := w.phase.Load(); p == expired || p == lost {
			return
		}
	}
}
