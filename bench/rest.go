package main

import (
	"context"
	"errors"
	"sync"

	"holdfast/bench/harness"
	"holdfast/bench/subject"
)

// An idleness is a server that nobody asks anything.
type idleness struct {
	Seconds float64        `json:"seconds"`
	Start   harness.Spread `json:"start_ms"` // from exec to ready, in a new directory
	WakeUps float64        `json:"wake_ups_per_s"`
	CPU     float64        `json:"cpu_ms_per_s"`
	RSS     int64          `json:"rss_bytes"`
	Calls   map[string]int `json:"system_calls,omitempty"` // in another stretch of the same length; nil: no strace
	Noisy   bool           `json:"noisy"`                  // of the whole part: other processes took too much
}

// A wear is what items that trickle in cost a flash disk.
type wear struct {
	CommitDelay string  `json:"commit_delay"`
	Items       int     `json:"items"`
	Bytes       float64 `json:"bytes_per_item"` // in whole pages, marks included
	harness.Verdict
}

// rest is about servers that have next to nothing to do: starts of an empty one, and then, all at once, one that is idle
// and two with ten items a second, one of which may wait a second for more before it commits.
func (b *bench) rest(ctx context.Context) error {
	i, q := &idleness{}, harness.StartQuiet()
	var starts []float64
	for range b.o.Rounds {
		if _, err := b.inBed(ctx, 0, subject.Setup{}, func(d *subject.Bed) error {
			starts = append(starts, float64(d.Ready().Microseconds())/1e3)
			return nil
		}); err != nil {
			return err
		}
	}
	i.Start = harness.SpreadOf(starts)
	delays := []string{"0s", "1s"}
	wears, errs := make([]wear, len(delays)), make([]error, len(delays)+1)
	var wg sync.WaitGroup
	for n, delay := range delays {
		wg.Go(func() { wears[n], errs[n] = b.trickle(ctx, delay) })
	}
	wg.Go(func() { errs[len(delays)] = b.watch(ctx, i) })
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	i.Noisy = b.o.Quick || q.Noisy()
	b.report.Idle, b.report.Flash = i, wears
	b.Tell("idle for %.0f s, and a trickle of %d items", i.Seconds, wears[0].Items)
	return nil
}

// watch sees a server with three sinks do nothing.
func (b *bench) watch(ctx context.Context, i *idleness) error {
	settle, watched := 3*b.o.second, 6*b.o.second
	i.Seconds = watched.Seconds()
	_, err := b.inBed(ctx, 0, subject.Setup{}, func(d *subject.Bed) (err error) {
		if err := harness.Sleep(ctx, settle); err != nil {
			return err
		}
		wakes, cpu := harness.WakeUps(d.PID()), harness.ProcessCPU(d.PID())
		if err := harness.Sleep(ctx, watched); err != nil {
			return err
		}
		i.WakeUps = float64(harness.WakeUps(d.PID())-wakes) / i.Seconds
		i.CPU = float64((harness.ProcessCPU(d.PID()) - cpu).Microseconds()) / 1e3 / i.Seconds
		i.RSS = harness.Memory(d.PID(), "VmRSS")
		i.Calls, err = harness.Trace(ctx, d.PIDs(), func() error { return harness.Sleep(ctx, watched) })
		return err
	})
	return err
}

// trickle offers ten items a second for twenty seconds to a server that marks what is settled every ten seconds.
func (b *bench) trickle(ctx context.Context, delay string) (r wear, err error) {
	const perSecond = 10
	w := harness.Workload{Name: "trickle", Producers: 20, Batch: 1, Items: harness.Scaled(int(20*perSecond*b.o.second.Seconds()), 1, 20)}
	r = wear{CommitDelay: delay, Items: w.Items}
	setup := subject.Setup{Extra: ", mark_delay: 10s, commit_delay: " + delay}
	r.Verdict, err = b.inBed(ctx, w.Items, setup, func(d *subject.Bed) error {
		before, _, err := d.Written()
		if err != nil {
			return err
		}
		if _, err := harness.Offer(ctx, w, 0, perSecond, d.Dial); err != nil {
			return err
		}
		if err := d.Tally.Wait(ctx); err != nil {
			return err
		}
		if err := harness.Sleep(ctx, b.o.second); err != nil { // the marks of the second ten seconds
			return err
		}
		after, _, err := d.Written()
		r.Bytes = (after - before) / float64(w.Items)
		return err
	})
	return r, err
}
