package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/queue"
	"holdfast/sinks"
)

// A Feed is a lane's end of the queues that it empties; *queue.Feed is one. One goroutine at a time calls Next.
type Feed interface {
	// Next appends 1 to max deliveries to dst, in accept order, waiting for the first. Its error is ctx's, or a fault of
	// the store; what was appended before is out all the same.
	//
	// What dst holds already is a batch that is being gathered: with order strict Next goes on behind it, while all else
	// that is out holds it back. (A feed that waits here until dst is settled is right too, but its batches are smaller.)
	// With order key no two deliveries of one key are out at once, be it in one batch.
	Next(ctx context.Context, dst []queue.Delivery, max int) ([]queue.Delivery, error)
	// Settle hands an outcome back, once per delivery.
	Settle(d queue.Delivery, o queue.Outcome)
	// SettleAll is Settle for several with one outcome.
	SettleAll(deliveries []queue.Delivery, o queue.Outcome)
	// Return hands a delivery back as if it had never been handed out.
	Return(d queue.Delivery)
}

// A Sink is one lane: where its deliveries come from, where they go, and how.
type Sink struct {
	Name        string
	Feed        Feed
	Sink        sinks.Sink
	Pause       func(ctx context.Context) error // durable when it returns nil; called on a Gone verdict. nil: the sink is held as if unavailable
	Paused      func() bool                     // for Status only: has an operator paused the sink? nil: never
	Unread      func() (time.Time, error)       // for Status only: since when, and by what, the feed hands nothing out; nil error: it does. nil: always
	Waiting     func() int64                    // for the log only: how many items wait for the sink; nil: not known
	Concurrency int                             // attempts at once, default 1; more than 1 is for feeds with order key or none
	Batch       Batch
	Rate        *Rate         // nil: no limit
	Timeout     time.Duration // of one attempt, default 10s
	Retry       *Retry        // nil: DefaultRetry()
	Breaker     Breaker
}

// Options are what lanes have in common. The zero value is good for production.
type Options struct {
	Drain    time.Duration         // how long attempts may go on after a stop, default 10s; negative: not at all
	Grace    time.Duration         // how long after its deadline an attempt is left behind, default 1s
	Registry prometheus.Registerer // nil: no metrics
	Log      *slog.Logger          // nil: nothing is logged
}

// A Dispatcher runs the lanes of all sinks.
type Dispatcher struct {
	lanes []*lane
	drain time.Duration
}

// New checks the lanes and registers their metrics; it starts nothing. The sinks stay the caller's, who closes them after
// Run has returned.
func New(list []Sink, o Options) (*Dispatcher, error) {
	o = o.withDefaults()
	m := newMetrics()
	d := &Dispatcher{drain: o.Drain}
	names := map[string]bool{}
	for _, s := range list {
		s, err := s.withDefaults()
		if err == nil && names[s.Name] {
			err = errors.New("it is there twice")
		}
		if err != nil {
			return nil, fmt.Errorf("sink %q: %w", s.Name, err)
		}
		names[s.Name] = true
		d.lanes = append(d.lanes, newLane(s, o, m.lane(s.Name)))
	}
	if o.Registry != nil {
		if err := m.register(o.Registry, d.lanes); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return d, nil
}

// Run delivers until ctx is done, and stops in two steps: nothing more is taken, while attempts that are being made may
// go on for Options.Drain; then their contexts are cancelled, and what has no result is returned to its queue. Waits for
// a retry or a probe end at once. It returns nil when all lanes have ended; attempts that ignored their contexts are left
// behind. When a feed fails it stops by itself, likewise, and returns that error. Run may be called once.
func (d *Dispatcher) Run(ctx context.Context) error {
	take, stop := context.WithCancel(ctx)
	defer stop()
	attempt, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	errs := make([]error, len(d.lanes))
	var lanes sync.WaitGroup
	for i, l := range d.lanes {
		lanes.Go(func() {
			if errs[i] = l.run(take, attempt); errs[i] != nil {
				stop()
			}
		})
	}
	<-take.Done()
	drained := time.AfterFunc(d.drain, cut)
	defer drained.Stop()
	lanes.Wait()
	return errors.Join(errs...)
}

func (o Options) withDefaults() Options {
	if o.Drain == 0 {
		o.Drain = 10 * time.Second
	}
	if o.Grace <= 0 {
		o.Grace = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func (s Sink) withDefaults() (Sink, error) {
	switch {
	case s.Name == "":
		return s, errors.New("it has no name")
	case s.Feed == nil || s.Sink == nil:
		return s, errors.New("it has no feed or no sink")
	case s.Concurrency < 0 || s.Timeout < 0:
		return s, errors.New("concurrency and timeout are not negative")
	}
	if err := s.Batch.check(); err != nil {
		return s, err
	}
	s.Concurrency = max(s.Concurrency, 1)
	s.Batch.Items = max(s.Batch.Items, 1)
	if s.Timeout == 0 {
		s.Timeout = 10 * time.Second
	}
	if s.Retry == nil {
		s.Retry = new(DefaultRetry())
	}
	s.Breaker = s.Breaker.withDefaults()
	if s.Rate == nil {
		return s, s.Retry.check()
	}
	r, err := s.Rate.withDefaults()
	s.Rate, s.Batch.Items = &r, min(s.Batch.Items, r.Burst)
	return s, errors.Join(err, s.Retry.check())
}
