package harness

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
)

// A Round is what one pass over all systems showed.
type Round struct {
	floors  [][2]Sample // before and after, by number of the floor
	samples []Sample    // by number of the system
	failed  []error     // likewise: a run without figures
}

// A Comparison is the rounds of one workload.
type Comparison struct {
	Workload Workload
	Floors   []System
	Systems  []System
	Rounds   []Round // those that were kept; of noisy ones, all
	Confidence
}

// Compare runs rounds of a workload until enough are kept, or as many were thrown away: the floors, every system once in
// shuffled order, the floors again. Where no round could be kept, it has the noisy ones. A system that fails has no
// figures and is not run again, and the error says which; the comparison of the others is whole.
func (s *Session) Compare(ctx context.Context, w Workload, floors, systems []System) (Comparison, error) {
	c := Comparison{Workload: w, Floors: floors, Systems: systems}
	var noisy []Round
	broken := make([]error, len(systems))
	for len(c.Rounds) < s.Rounds && len(noisy) < s.Rounds {
		q := StartQuiet()
		r, err := s.round(ctx, w, floors, systems, broken, uint64(len(c.Rounds)+len(noisy)))
		if err != nil {
			return c, err
		}
		why := s.noise(q, r.drifted())
		if c.count(why) {
			c.Rounds = append(c.Rounds, r)
		} else {
			noisy = append(noisy, r)
		}
		s.Tell("%s: %s", w.Name, c.Confidence.progress(s.Rounds, why))
	}
	if c.Noisy = s.Smoke || len(c.Rounds) == 0; len(c.Rounds) == 0 {
		c.Rounds = noisy
	}
	return c, errors.Join(broken...)
}

// round fails where a floor does, or the context ends. A system that fails is noted in broken.
func (s *Session) round(ctx context.Context, w Workload, floors, systems []System, broken []error, seed uint64) (Round, error) {
	r := Round{make([][2]Sample, len(floors)), make([]Sample, len(systems)), make([]error, len(systems))}
	if err := s.runFloors(ctx, w, floors, r, 0); err != nil {
		return r, err
	}
	for _, i := range rand.New(rand.NewPCG(seed, 0)).Perm(len(systems)) {
		if broken[i] != nil {
			continue
		}
		one, err := s.Run(ctx, systems[i], w.atMost(systems[i].Most))
		if ctx.Err() != nil {
			return r, context.Cause(ctx)
		}
		if r.samples[i] = one; err != nil {
			broken[i] = fmt.Errorf("%s, %s, %d sinks: %w", w.Name, systems[i].Name, systems[i].Sinks, err)
		}
	}
	copy(r.failed, broken)
	return r, s.runFloors(ctx, w, floors, r, 1)
}

func (s *Session) runFloors(ctx context.Context, w Workload, floors []System, r Round, when int) (err error) {
	for i, f := range floors {
		if r.floors[i][when], err = s.Run(ctx, f, w); err != nil {
			return fmt.Errorf("%s, %s: %w", w.Name, f.Name, err)
		}
	}
	return nil
}

// drifted says whether a floor was another one at the end.
func (r Round) drifted() bool {
	for _, f := range r.floors {
		if drifted(f[0].Accept, f[1].Accept) {
			return true
		}
	}
	return false
}

// floor is what a round's two runs of a floor were on average.
func (r Round) floor(i int) Sample { return medians(r.floors[i][:]) } // of two, that is the mean

// Ratio is a figure of one system by the same of another one in the same round, over the rounds. Either may be a floor.
func (c Comparison) Ratio(a, b System, of func(Sample) float64) Spread {
	var v []float64
	for _, r := range c.Rounds {
		one, ok1 := c.sample(r, a)
		other, ok2 := c.sample(r, b)
		if ok1 && ok2 && of(one) > 0 && of(other) > 0 {
			v = append(v, of(one)/of(other))
		}
	}
	return SpreadOf(v)
}

// sample is what a round has of a system, if it has.
func (c Comparison) sample(r Round, s System) (Sample, bool) {
	for i, f := range c.Floors {
		if f.Name == s.Name {
			return r.floor(i), true
		}
	}
	for i, o := range c.Systems {
		if o.Name == s.Name && o.Sinks == s.Sinks {
			return r.samples[i], r.failed[i] == nil
		}
	}
	return Sample{}, false
}

// The figures that Ratio and Sandwich are asked for.
func Accept(s Sample) float64 { return s.Accept }      // items accepted per second
func E2E(s Sample) float64    { return s.E2E }         // items per second until all were delivered
func P50(s Sample) float64    { return s.Latency.P50 } // of accepts
func P99(s Sample) float64    { return s.Latency.P99 } // of accepts
func Bytes(s Sample) float64  { return s.Bytes }       // written per item, by the system's own count
func Device(s Sample) float64 { return s.Device }      // written per item, by the device's count
