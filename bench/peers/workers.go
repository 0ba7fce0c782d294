package main

import (
	"context"
	"errors"
	"sync"

	"holdfast/bench/harness"
)

// Workers are the goroutines of a peer's sinks. Stop ends them.
type workers struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	errs   []error // by sink; read once all have ended
}

// startWorkers runs one for each sink, until it returns or its context ends.
func startWorkers(sinks int, run func(ctx context.Context, sink int) error) *workers {
	ctx, cancel := context.WithCancel(context.Background())
	w := &workers{cancel: cancel, errs: make([]error, sinks)}
	for i := range sinks {
		w.wg.Go(func() {
			if err := run(ctx, i); err != nil && ctx.Err() == nil {
				w.errs[i] = err // what fails because it was told to end is no failure
			}
		})
	}
	return w
}

// stop tells them to end, unblocks those that do not look at their context, waits, and returns why one ended before.
func (w *workers) stop(unblock ...func() error) error {
	w.cancel()
	var err error
	for _, f := range unblock {
		err = errors.Join(err, f())
	}
	w.wg.Wait()
	return errors.Join(err, errors.Join(w.errs...))
}

// each runs do for 0 to n-1 at the same time, and returns when all have returned.
func each(n int, do func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := 1; i < n; i++ {
		wg.Go(func() { errs[i] = do(i) })
	}
	errs[0] = do(0)
	wg.Wait()
	return errors.Join(errs...)
}

// A bell wakes a sink of a library that cannot wait for items itself. It has room for one ring.
type bell chan struct{}

func newBells(n int) (all []bell) {
	for range n {
		all = append(all, make(bell, 1))
	}
	return all
}

func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// wait returns after a ring, or with an error when ctx ends.
func (b bell) wait(ctx context.Context) error {
	select {
	case <-b:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Bodies are those of one put, used again by the next.
type bodies [][]byte

func newBodies(n int) (b bodies) {
	for range n {
		b = append(b, harness.NewBody())
	}
	return b
}

// number writes the sequence numbers of n bodies, and returns these.
func (b bodies) number(seq, n int) bodies {
	for i := range n {
		harness.SetSeq(b[i], seq+i)
	}
	return b[:n]
}

// A producer is a client without a connection of its own: it puts by a function, which owns the bodies until it returns.
type producer struct {
	bodies bodies
	put    func(ctx context.Context, bodies bodies) error
	end    func() error // nil: nothing
}

func (p *producer) Put(ctx context.Context, seq, n int) error {
	return p.put(ctx, p.bodies.number(seq, n))
}

func (p *producer) Close() error {
	if p.end == nil {
		return nil
	}
	return p.end()
}

// deliveryBatch is how many items a sink takes at once where the peer lets it, as those of holdfast do.
const deliveryBatch = 256
