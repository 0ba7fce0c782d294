package harness

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Run is one life of a system: it is started in a directory of its own, takes the workload as fast as its producers are
// answered, delivers all of it, and is stopped. It fails if an accepted item did not reach every sink.
func (s *Session) Run(ctx context.Context, sys System, w Workload) (Sample, error) {
	return s.live(ctx, sys, w, func(ctx context.Context, r Running) (Produced, error) {
		return Produce(ctx, w, 0, r.Dial)
	})
}

// RunAt is Run at a rate: see Offer.
func (s *Session) RunAt(ctx context.Context, sys System, w Workload, perSecond float64) (Sample, error) {
	one, err := s.live(ctx, sys, w, func(ctx context.Context, r Running) (Produced, error) {
		return Offer(ctx, w, 0, perSecond, r.Dial)
	})
	one.Offered = perSecond
	return one, err
}

func (s *Session) live(ctx context.Context, sys System, w Workload, put func(context.Context, Running) (Produced, error)) (one Sample, err error) {
	err = s.InScratch(func(dir string) error {
		t := NewTally(sys.Sinks, w.Items)
		began := time.Now()
		r, err := sys.Start(ctx, Place{dir, w.Items, t})
		if err != nil {
			return fmt.Errorf("start %s: %w", sys.Name, err)
		}
		started := time.Since(began)
		one, err = measure(ctx, r, t, dir, w, put)
		if err = errors.Join(err, r.Stop()); err != nil {
			return err
		}
		one.Start, one.Drained = milliseconds(started), DiskUse(dir)
		one.Verdict, err = s.Judge(t)
		return err
	})
	return one, err
}

// measure is what happens between the start and the stop.
func measure(ctx context.Context, r Running, t *Tally, dir string, w Workload, put func(context.Context, Running) (Produced, error)) (Sample, error) {
	m, err := startMeter(r, dir)
	if err != nil {
		return Sample{}, err
	}
	defer m.stop()
	p, err := put(ctx, r)
	if err != nil {
		return Sample{}, err
	}
	if err := t.Wait(ctx); err != nil {
		return Sample{}, err
	}
	last := p.Began.Add(p.Took)
	if t.Sinks() > 0 {
		last = t.lastTime()
	}
	return m.sample(w, p, last)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
