package harness

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Backlog is how a system lives with items that wait for all its sinks: how it starts again with them, and what it is
// like when they have gone.
type Backlog struct {
	System  string  `json:"system"`
	Sinks   int     `json:"sinks"`
	Waiting int     `json:"waiting"`
	Accept  float64 `json:"accept_held_per_s"`  // in bursts of 256 from 4 producers, while nothing is delivered
	Peak    int64   `json:"disk_bytes"`         // when they wait
	Start   float64 `json:"start_ms"`           // after a stop in good order, until it takes items again
	RSS     int64   `json:"rss_bytes"`          // after that start
	Drain   float64 `json:"deliveries_per_s"`   // of all sinks together
	Drained int64   `json:"disk_drained_bytes"` // when all is delivered, and the system has been stopped
	Foreign float64 `json:"foreign_cores"`      // taken by other processes meanwhile
	Verdict
}

// Restart lets items wait in a system that is a Holder, starts it again, and delivers them. items is rounded up to bursts.
func (s *Session) Restart(ctx context.Context, sys System, items int) (b Backlog, err error) {
	w := Workload{"held", 4, 256, (items + 1023) / 1024 * 1024}
	b = Backlog{System: sys.Name, Sinks: sys.Sinks, Waiting: w.Items}
	q := StartQuiet()
	err = s.InScratch(func(dir string) error {
		t := NewTally(sys.Sinks, w.Items)
		r, err := sys.Start(ctx, Place{dir, w.Items, t})
		if err != nil {
			return err
		}
		err = b.measure(ctx, r, t, dir, w)
		if err = errors.Join(err, r.Stop()); err != nil {
			return err
		}
		b.Drained = DiskUse(dir)
		b.Verdict, err = s.Judge(t)
		return err
	})
	b.Foreign = q.Foreign()
	if err != nil {
		err = fmt.Errorf("%s with a backlog: %w", sys.Name, err)
	}
	s.Tell("%s: started with %d items waiting", sys.Name, w.Items)
	return b, err
}

func (b *Backlog) measure(ctx context.Context, r Running, t *Tally, dir string, w Workload) error {
	h, ok := r.(Holder)
	if !ok {
		return errors.New("its sinks cannot be held")
	}
	if err := h.Hold(); err != nil {
		return err
	}
	p, err := Produce(ctx, w, 0, r.Dial)
	if err != nil {
		return err
	}
	b.Accept, b.Peak = float64(w.Items)/p.Took.Seconds(), DiskUse(dir)
	start, err := h.Restart(ctx)
	if err != nil {
		return err
	}
	b.Start, b.RSS = milliseconds(start), rssOf(r.PIDs())
	began := time.Now()
	if err := h.Release(); err != nil {
		return err
	}
	if err := t.Wait(ctx); err != nil {
		return err
	}
	b.Drain = float64(w.Items*t.Sinks()) / t.lastTime().Sub(began).Seconds()
	return nil
}
