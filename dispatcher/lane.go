// Step 6 of an item's life: its sink's lane takes it when order, breaker and rate allow.

package dispatcher

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
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
	limit *rate.Limiter // nil: none; who may take from the feed takes from it
	runs  bool          // several batches may be taken at a time
	wake  chan struct{} // capacity 1: something was told that the one who waits at the gate may wait for
	ended chan struct{} // closed when the last worker has left
	shift shift         // set by run before the first worker

	inFlight  atomic.Int64
	delivered atomic.Int64
	calm      atomic.Bool // a success would change nothing below, and the gate is open; written with mu held

	mu          sync.Mutex // guards what follows
	breaker     breaker
	suspects    suspects
	workers     map[*worker]bool
	places      int // workers that have not left, the ones to come included
	hanging     int // attempts that were abandoned and have not returned
	mayHang     int
	changes     int       // that the breaker opened or closed, or that the sink was paused
	paused      bool      // the destination is gone
	retryAt     time.Time // of the newest retry since the last success
	symptom     symptom   // what opened the breaker last, or kept it open
	lastError   string
	lastFailure time.Time
	err         error // the feed's, that ended the lane
}

func newLane(s Sink, o Options, m *meters) *lane {
	l := &lane{
		Sink:     s,
		grace:    o.Grace,
		runTime:  min(runTime, s.Timeout/10),
		meters:   m,
		report:   newReport(o.Log, s),
		limit:    s.Rate.limiter(),
		runs:     s.Concurrency == 1 && s.Batch.Wait == 0 && s.Rate == nil,
		wake:     make(chan struct{}, 1),
		ended:    make(chan struct{}),
		breaker:  breaker{Breaker: s.Breaker},
		suspects: suspects{},
		workers:  map[*worker]bool{},
		mayHang:  max(mayHang, s.Concurrency),
	}
	if s.Concurrency > 1 {
		l.turn = make(chan struct{}, 1)
	}
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
	for need := 1; l.gate(ctx, w, need); {
		if err := l.fill(ctx, w, need); err != nil {
			l.giveBack(w.taken, w.probe)
			if ctx.Err() == nil {
				l.fail(err)
			}
			return false
		}
		l.resumed()
		if l.spend(len(w.taken)) {
			return true
		}
		need = len(w.taken) // what waits for the rate waits in the queue
		l.giveBack(w.taken, false)
	}
	return false
}

// fill takes a batch, or a run of them; a single delivery as the breaker's probe; and what is needed if more than one is.
func (l *lane) fill(ctx context.Context, w *worker, need int) (err error) {
	want := l.Batch.Items * w.run
	switch {
	case w.probe:
		want = 1
	case need > 1:
		want = need
	}
	if w.taken, err = l.Feed.Next(ctx, w.taken[:0], want); err != nil {
		return err
	}
	if l.Batch.Wait > 0 && want > 1 && need == 1 {
		l.collect(ctx, w)
	}
	if !l.runs {
		n := l.fit(w.taken)
		l.giveBack(w.taken[n:], false)
		clear(w.taken[n:])
		w.taken = w.taken[:n]
	}
	return nil
}

// gate waits until as many deliveries as are needed may pass, and tells the worker whether it is the breaker's probe. It
// returns false when ctx is done. Only one worker is at the gate.
func (l *lane) gate(ctx context.Context, w *worker, need int) bool {
	for w.probe = false; ; {
		wait := l.delayed(need)
		calm := l.calm.Load()
		if wait == 0 && !calm {
			w.probe, wait = l.ask(time.Now())
		}
		if wait == 0 {
			return true
		}
		if !calm {
			wait = l.sweep(ctx, w, wait)
		}
		if !l.sleep(ctx, wait) {
			return false
		}
	}
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
	l.calm.Store(l.breaker.calm() && len(l.suspects) == 0 && l.hanging < l.mayHang && !l.paused && l.retryAt.IsZero())
	select {
	case l.wake <- struct{}{}:
	default:
	}
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
