package main

import (
	"context"
	"fmt"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
	"holdfast/bench/subject"
)

// A load is the latency of accepts at one offered rate, for holdfast's streams and for the floor.
type load struct {
	Share    float64             `json:"share_of_maximum"`
	Offered  float64             `json:"offered_per_s"` // the median of the rounds
	Holdfast harness.Percentiles `json:"holdfast"`
	Floor    harness.Percentiles `json:"floor"`
	P99Ratio harness.Spread      `json:"p99_ratio"` // to the floor's at the same rate
	harness.Confidence
}

const (
	goalShare = 0.5 // the load that the goal is about
	offerFor  = 3   // seconds: in the first, a service's heap still grows, and is collected once for each doubling
)

// latency offers shares of what 64 streams can do at most, to holdfast and to the floor alike: the one that the goal is
// about in as many rounds as everything else, and the others once, for the plot.
func (b *bench) latency(ctx context.Context) error {
	shares := []float64{0.25, goalShare, 0.75, 0.9}
	if b.o.Quick {
		shares = []float64{goalShare}
	}
	for _, share := range shares {
		rounds := 1
		if share == goalShare {
			rounds = b.o.Rounds
		}
		l, err := b.offer(ctx, share, rounds)
		if err != nil {
			return fmt.Errorf("at %.0f %%: %w", share*100, err)
		}
		b.report.Loads = append(b.report.Loads, l)
	}
	return nil
}

// offer makes the rounds of a load. Each finds its own maximum first: half of what a machine did minutes ago may be all that
// it does now.
func (b *bench) offer(ctx context.Context, share float64, rounds int) (load, error) {
	round := func(ctx context.Context) (p harness.Pair[harness.Sample], err error) {
		most, err := b.maximum(ctx)
		if err != nil {
			return p, err
		}
		w, rate := b.offered(share*most, offerFor)
		at := func(s harness.System) func(context.Context) (harness.Sample, error) {
			return func(ctx context.Context) (harness.Sample, error) { return b.RunAt(ctx, s, w, rate) }
		}
		return harness.Between(at(floor.TCP()), at(subject.Stream(b.binary, sinkCount)))(ctx)
	}
	change := harness.Change[harness.Sample]{What: fmt.Sprintf("latency at %.0f %%", share*100), Rounds: rounds, Steady: harness.P50, Round: round}
	pairs, c, err := change.Run(ctx, b.Session)
	if err != nil {
		return load{}, err
	}
	offered := harness.Figures(pairs, func(p harness.Pair[harness.Sample]) float64 { return p.Treated.Offered })
	l := load{Share: share, Offered: offered.Median, P99Ratio: harness.Ratios(pairs, harness.P99), Confidence: c}
	l.Floor, l.Holdfast = harness.Latencies(pairs)
	return l, nil
}

// maximum is what 64 streams with one item at a time reach now.
func (b *bench) maximum(ctx context.Context) (float64, error) {
	s, err := b.Run(ctx, subject.Stream(b.binary, sinkCount), b.o.p64())
	return s.Accept, err
}

// offered is a load of 64 producers that lasts for some seconds.
func (b *bench) offered(perSecond, seconds float64) (harness.Workload, float64) {
	const producers = 64
	perSecond = max(perSecond, 1000)
	items := harness.Scaled(int(perSecond*seconds*b.o.second.Seconds()), 1, producers)
	return harness.Workload{Name: "offered", Producers: producers, Batch: 1, Items: items}, perSecond
}
