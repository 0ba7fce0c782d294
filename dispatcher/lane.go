// Step 6 of an item's life: its sink's lane takes it when order, breaker and schedule allow.

package dispatcher

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	longestRun = 64                    // deliveries that one worker takes at a time from a fast sink
	runTime    = 10 * time.Millisecond // how long a run may last, and an attempt in it beyond its timeout
	mayHang    = 4                     // attempts that were abandoned and have not returned, before a lane holds
)

// lane is one sink's: a few workers, each of which takes deliveries from the feed, attempts them and settles them, all
// in its own goroutine. What they know of the destination they share.
type lane struct {
	Sink
	grace   time.Duration
	runTime time.Duration
	meters  *meters
	report  *report

	turn  chan struct{} // capacity 1: who fills it may take from the feed; nil with a single worker
	wake  chan struct{} // capacity 1: something was told that the one who waits at the gate may wait for
	ended chan struct{} // closed when the last worker has left
	shift shift         // set by run before the first worker

	inFlight  atomic.Int64
	delivered atomic.Int64
	batch     atomic.Int32 // deliveries per attempt now: halved by a batch that failed without saying which, doubled by success
	calm      atomic.Bool  // a success would change nothing below, and the gate is open; written with mu held

	mu          sync.Mutex // guards what follows
	breaker     breaker
	workers     map[*worker]bool
	places      int // workers that have not left, the ones to come included
	hanging     int // attempts that were abandoned and have not returned
	mayHang     int
	paused      bool      // the destination is gone
	retryAt     time.Time // of the newest retry since the last success
	lastError   string
	lastFailure time.Time
	err         error // the feed's, that ended the lane
}

// shift is what a run's two contexts mean to its workers.
type shift struct {
	hire     func()       // starts a worker
	stopping func() bool  // nothing more is taken
	cut      func() bool  // nothing more is attempted
	pause    func() error // pauses the sink durably
}

func newLane(s Sink, o Options, m *meters) *lane {
	l := &lane{
		Sink:    s,
		grace:   o.Grace,
		runTime: min(runTime, s.Timeout/10),
		meters:  m,
		report:  newReport(o.Log, s.Name),
		wake:    make(chan struct{}, 1),
		ended:   make(chan struct{}),
		breaker: breaker{Breaker: s.Breaker},
		workers: map[*worker]bool{},
		mayHang: max(mayHang, s.Concurrency),
	}
	if s.Concurrency > 1 {
		l.turn = make(chan struct{}, 1)
	}
	l.batch.Store(int32(s.Batch))
	l.calm.Store(true)
	return l
}

// run ends when all its workers have left: after take is done, or when the feed failed, whose error it returns. What is
// still attempted a while after attempt is done is abandoned.
func (l *lane) run(take, attempt context.Context) error {
	l.shift = shift{
		hire:     func() { go l.work(take, attempt) },
		stopping: func() bool { return take.Err() != nil },
		cut:      func() bool { return attempt.Err() != nil },
		pause: func() error {
			ctx, cancel := context.WithTimeout(attempt, l.Timeout)
			defer cancel()
			return l.Pause(ctx)
		},
	}
	l.places = l.Concurrency
	for range l.Concurrency {
		l.shift.hire()
	}
	select {
	case <-l.ended:
	case <-attempt.Done():
		l.abandonAll()
	}
	l.report.flush()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// work is a worker's life: it takes and attempts until nothing more is to be taken. It ends early, its place given to
// another, when an attempt was abandoned.
func (l *lane) work(take, attempt context.Context) {
	w := l.enlist(nil)
	for l.take(take, w) {
		switch w.attempt(attempt) {
		case lost:
			l.returned()
			return
		case expired:
			w = l.enlist(w)
		}
	}
	l.leave(w)
}

// take fills w.taken, and returns false when the worker is to leave.
func (l *lane) take(ctx context.Context, w *worker) bool {
	if l.turn != nil {
		select {
		case l.turn <- struct{}{}:
			defer func() { <-l.turn }()
		case <-ctx.Done():
			return false
		}
	}
	if ctx.Err() != nil {
		return false
	}
	var ok bool
	if w.probe, ok = l.gate(ctx); !ok {
		return false
	}
	w.chunk = int(l.batch.Load())
	want := w.chunk * w.run
	if w.probe {
		want = 1
	}
	var err error
	w.taken, err = l.Feed.Next(ctx, w.taken[:0], want)
	if err == nil {
		l.resumed()
		return true
	}
	l.giveBack(w.taken, w.probe)
	if ctx.Err() == nil {
		l.fail(err)
	}
	return false
}

// gate waits until a delivery may pass, and says whether it is the breaker's probe. Only one worker is at the gate.
func (l *lane) gate(ctx context.Context) (probe, ok bool) {
	for !l.calm.Load() {
		probe, wait := l.ask(time.Now())
		if wait == 0 {
			return probe, true
		}
		if !l.sleep(ctx, wait) {
			return false, false
		}
	}
	return false, true
}

func (l *lane) ask(now time.Time) (probe bool, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hanging >= l.mayHang {
		return false, -1
	}
	return l.breaker.ask(now)
}

// sleep waits for a while, or with a negative one without end, but no longer than until something was told. It returns
// false when ctx is done.
func (l *lane) sleep(ctx context.Context, wait time.Duration) bool {
	var over <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
	case <-l.wake:
	case <-ctx.Done():
		return false
	}
	return true
}

// settled is called with mu held after any change that the gate or a success depends on.
func (l *lane) settled() {
	l.calm.Store(l.breaker.calm() && l.hanging < l.mayHang && !l.paused && l.retryAt.IsZero())
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// enlist makes a worker, in the place of old if there is one.
func (l *lane) enlist(old *worker) *worker {
	w := newWorker(l)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.workers, old)
	l.workers[w] = true
	return w
}

func (l *lane) leave(w *worker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.workers, w)
	if l.places--; l.places == 0 {
		close(l.ended)
	}
}

// replace gives the place of a worker that is lost to a new one, or to nobody when the lane stops.
func (l *lane) replace(w *worker) {
	if l.shift.stopping() {
		l.leave(w)
		return
	}
	l.mu.Lock()
	delete(l.workers, w)
	l.mu.Unlock()
	l.shift.hire()
}

// returned notes that an attempt which was abandoned has come back after all.
func (l *lane) returned() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hanging--
	l.settled()
}

// resumed notes that the feed hands out: whoever paused the sink has resumed it.
func (l *lane) resumed() {
	if l.calm.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = false
	l.settled()
}

func (l *lane) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = &FeedError{Sink: l.Name, Err: err}
	}
}

// A FeedError is what Run returns when a sink's feed failed: a fault of the store, not of the sink.
type FeedError struct {
	Sink string
	Err  error
}

func (e *FeedError) Error() string { return "feed of " + e.Sink + ": " + e.Err.Error() }
func (e *FeedError) Unwrap() error { return e.Err }
