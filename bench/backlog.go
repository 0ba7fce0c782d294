package main

import (
	"context"
	"fmt"
	"time"

	"holdfast/bench/harness"
	"holdfast/bench/subject"
)

// A size is how holdfast is with so many items waiting for three sinks.
type size struct {
	Waiting   int     `json:"waiting"`
	Accept    float64 `json:"accept_per_s"`            // of some more, in bursts of 250 from 4 producers, while nothing is delivered
	Drain     float64 `json:"drain_per_s"`             // deliveries, of the same number of items for every size
	RssAnon   int64   `json:"rss_anon_bytes"`          // when they wait
	Reopened  int64   `json:"rss_anon_reopened_bytes"` // after the second start
	OpenStop  float64 `json:"open_after_stop_ms"`
	OpenKill  float64 `json:"open_after_kill_ms"`
	DiskBytes int64   `json:"disk_bytes"`

	// Of the largest size alone; 0 where the rest of the backlog was gone before.
	DrainHalf float64 `json:"drain_first_half_per_s"` // deliveries, while nothing is accepted
	During    float64 `json:"accept_during_per_s"`    // items of 64 streams, during the second half
	Alone     float64 `json:"accept_alone_per_s"`     // likewise, when the backlog is gone and the sinks keep up
	harness.Verdict
}

// A growth is what a long backlog changes.
type growth struct {
	Empty    int64          `json:"empty_rss_anon_bytes"`      // of a service that owes nothing
	Sizes    []size         `json:"sizes"`                     // smallest first; the first and the last of the last round
	Accept   harness.Spread `json:"accept_ratio"`              // largest by smallest, in the same round
	Drain    harness.Spread `json:"drain_ratio"`               // likewise; the smallest goes first
	OpenStop harness.Spread `json:"open_after_stop_ms"`        // with the largest
	OpenKill harness.Spread `json:"open_after_kill_ms"`        // likewise
	Grown    harness.Spread `json:"rss_anon_growth_bytes"`     // of the largest beyond the empty service, at its worst
	Rate     harness.Spread `json:"drain_first_half_per_s"`    // of the largest
	During   harness.Spread `json:"accept_during_drain_ratio"` // by accepts without
	harness.Confidence
}

// How it is measured: the smallest backlog, how many items each rate is taken from, and how often.
const (
	smallest     = 10_000
	growthSample = 30_000
	samples      = 5 // of accepts
)

// backlog compares the largest backlog with the smallest, in rounds, and those between once, for the plot.
func (b *bench) backlog(ctx context.Context) (err error) {
	g := &growth{}
	if g.Empty, err = b.emptyRss(ctx); err != nil {
		return err
	}
	large := harness.Scaled(b.o.most, 1, 1000)
	change := harness.Change[size]{What: fmt.Sprintf("backlog of %d", large), Rounds: b.o.Rounds, Steady: acceptOf,
		Round: func(ctx context.Context) (harness.Pair[size], error) { return b.grow(ctx, large, true) }}
	rounds, c, err := change.Run(ctx, b.Session)
	if err != nil {
		return err
	}
	g.judge(rounds, c)
	last := rounds[len(rounds)-1]
	g.Sizes = append(g.Sizes, last.After)
	for n := last.After.Waiting * 10; n < large; n *= 10 {
		p, err := b.grow(ctx, n, false)
		if err != nil {
			return fmt.Errorf("%d waiting: %w", n, err)
		}
		g.Sizes = append(g.Sizes, p.Treated)
		b.Tell("backlog of %d", n)
	}
	g.Sizes = append(g.Sizes, last.Treated)
	b.report.Growth = g
	return nil
}

func acceptOf(s size) float64 { return s.Accept }

func (g *growth) judge(rounds []harness.Pair[size], c harness.Confidence) {
	large := func(of func(size) float64) harness.Spread {
		return harness.Figures(rounds, func(p harness.Pair[size]) float64 { return of(p.Treated) })
	}
	g.Confidence = c
	g.Accept, g.Drain = harness.Ratios(rounds, acceptOf), harness.Ratios(rounds, func(s size) float64 { return s.Drain })
	g.OpenStop, g.OpenKill = large(func(s size) float64 { return s.OpenStop }), large(func(s size) float64 { return s.OpenKill })
	g.Grown = large(func(s size) float64 { return float64(max(s.RssAnon, s.Reopened) - g.Empty) })
	g.Rate = large(func(s size) float64 { return s.DrainHalf })
	g.During = large(func(s size) float64 { return harness.Ratio(s.During, s.Alone) })
}

// emptyRss is what a service takes that has accepted little and owes nothing.
func (b *bench) emptyRss(ctx context.Context) (rss int64, err error) {
	const items = 1000
	_, err = b.inBed(ctx, items, subject.Setup{}, func(d *subject.Bed) error {
		if _, err := d.Fill(ctx, 0, items); err != nil {
			return err
		}
		err := d.Tally.Wait(ctx)
		rss = harness.Memory(d.PID(), "RssAnon")
		return err
	})
	return rss, err
}

// grow lets n items wait, takes the measures of them and of the fewest in a server beside, and delivers all.
func (b *bench) grow(ctx context.Context, n int, drains bool) (p harness.Pair[size], err error) {
	one, w := harness.Scaled(growthSample, min(1, b.o.Scale), 1000), b.o.p64()
	w.Items = harness.Scaled(w.Items/2, 1, w.Producers) // so few that the drain outlasts them
	items := n + samples*one
	all := items
	if drains {
		all += 2 * w.Items
	}
	p.Treated.Verdict, err = b.inBed(ctx, all, subject.Setup{}, func(d *subject.Bed) error {
		if err := p.Treated.fill(ctx, d, n); err != nil {
			return err
		}
		few, err := b.beside(ctx, &p, d, one)
		if err != nil {
			return err
		}
		began, err := p.Treated.release(ctx, d, min(items, few))
		if err != nil || !drains {
			return err
		}
		return p.Treated.drain(ctx, d, items, w, began)
	})
	return p, err
}

// beside takes the control from another server, where the fewest items wait, and the rate of accepts from both in turns: a disk
// that has just written 5 GB is slower than before, for both. It returns how many items the control delivered.
func (b *bench) beside(ctx context.Context, p *harness.Pair[size], large *subject.Bed, one int) (items int, err error) {
	few := harness.Scaled(smallest, min(1, b.o.Scale), 1000)
	items = few + (samples+1)*one
	var small size
	var before, after float64
	small.Verdict, err = b.inBed(ctx, items, subject.Setup{}, func(d *subject.Bed) (err error) {
		if err = small.fill(ctx, d, few); err != nil {
			return err
		}
		more := func(d *subject.Bed, n int) func(int) (float64, error) {
			return func(i int) (float64, error) { return d.Fill(ctx, n+i*one, one) }
		}
		if before, p.Treated.Accept, after, err = inTurns(more(d, few), more(large, p.Treated.Waiting)); err != nil {
			return err
		}
		_, err = small.release(ctx, d, items)
		return err
	})
	p.Before, p.After = small, small
	p.Before.Accept, p.After.Accept = before, after
	return items, err
}

// inTurns takes rates of a control, and one of the treated between each two. It returns the medians: of the control those of the
// first half and of the second.
func inTurns(control, treated func(i int) (float64, error)) (before, rate, after float64, err error) {
	var controls, rates []float64
	for i := range samples + 1 {
		r, err := control(i)
		if err != nil {
			return 0, 0, 0, err
		}
		if controls = append(controls, r); i == samples {
			break
		}
		if r, err = treated(i); err != nil {
			return 0, 0, 0, err
		}
		rates = append(rates, r)
	}
	half := len(controls) / 2
	return harness.Median(controls[:half]), harness.Median(rates), harness.Median(controls[half:]), nil
}

// fill lets n items wait, and sees what they take.
func (s *size) fill(ctx context.Context, d *subject.Bed, n int) error {
	s.Waiting = n
	if err := d.Hold(); err != nil {
		return err
	}
	_, err := d.Fill(ctx, 0, n)
	s.RssAnon, s.DiskBytes = harness.Memory(d.PID(), "RssAnon"), d.DiskUse()
	return err
}

// release restarts the server, and lets the items go, at a rate that it takes from so many.
func (s *size) release(ctx context.Context, d *subject.Bed, items int) (began time.Time, err error) {
	if err := s.reopen(ctx, d); err != nil {
		return began, err
	}
	began = time.Now()
	if err := d.Release(); err != nil {
		return began, err
	}
	s.Drain, err = rate(ctx, d, items, began)
	return began, err
}

// reopen restarts the server after a stop in good order, and after a kill.
func (s *size) reopen(ctx context.Context, d *subject.Bed) error {
	stopped, err := d.Restart(ctx)
	if err != nil {
		return err
	}
	if err := d.Kill(); err != nil {
		return err
	}
	if err := d.Start(ctx); err != nil {
		return err
	}
	s.OpenStop, s.OpenKill = float64(stopped.Microseconds())/1e3, float64(d.Ready().Microseconds())/1e3
	s.Reopened = harness.Memory(d.PID(), "RssAnon")
	return nil
}

// drain lets half of the items go alone, and the other half while as many are accepted as w has; and as many again when
// all have gone.
func (s *size) drain(ctx context.Context, d *subject.Bed, items int, w harness.Workload, began time.Time) (err error) {
	if s.DrainHalf, err = rate(ctx, d, items/2, began); err != nil {
		return err
	}
	if s.During, err = d.Put(ctx, w, items); err != nil {
		return err
	}
	if d.Tally.Total() >= int64(sinkCount*items) {
		s.During = 0 // the drain did not last
	}
	if err := d.Tally.WaitTotal(ctx, int64(sinkCount*(items+w.Items))); err != nil {
		return err
	}
	s.Alone, err = d.Put(ctx, w, items+w.Items)
	return err
}

// rate waits until each sink has so many items, and returns how many deliveries a second that were since then.
func rate(ctx context.Context, d *subject.Bed, items int, began time.Time) (float64, error) {
	deliveries := int64(sinkCount) * int64(items)
	err := d.Tally.WaitTotal(ctx, deliveries)
	return float64(deliveries) / time.Since(began).Seconds(), err
}
