package harness

import "context"

// A Change is judged by what it does to a system: a dead sink, a backlog, holdfast in place of the floor. T is what one run
// shows, a Sample or something else.
type Change[T any] struct {
	What   string          // for the progress
	Rounds int             // to keep
	Steady func(T) float64 // the figure of the control that must not drift within a round
	Round  func(context.Context) (Pair[T], error)
}

// A Pair is one round: what was treated, and the control before and after it.
type Pair[T any] struct{ Before, Treated, After T }

// leastTries is how many noisy rounds are borne where only one is wanted.
const leastTries = 2

// Run measures in rounds, and throws away those whose controls drift apart: at most as many as are wanted, and some more of a
// few. Where no round could be kept it returns the noisy ones.
func (c Change[T]) Run(ctx context.Context, s *Session) ([]Pair[T], Confidence, error) {
	var kept, noisy []Pair[T]
	var conf Confidence
	for len(kept) < c.Rounds && len(noisy) < max(c.Rounds, leastTries) {
		q := StartQuiet()
		p, err := c.Round(ctx)
		if err != nil {
			return nil, conf, err
		}
		why := s.noise(q, drifted(c.Steady(p.Before), c.Steady(p.After)))
		if conf.count(why) {
			kept = append(kept, p)
		} else {
			noisy = append(noisy, p)
		}
		s.Tell("%s: %s", c.What, conf.progress(c.Rounds, why))
	}
	if conf.Noisy = s.Smoke || len(kept) == 0; len(kept) == 0 {
		kept = noisy
	}
	return kept, conf, nil
}

// Between is a round of three runs: control, treated, control.
func Between[T any](control, treated func(context.Context) (T, error)) func(context.Context) (Pair[T], error) {
	return func(ctx context.Context) (p Pair[T], err error) {
		if p.Before, err = control(ctx); err != nil {
			return p, err
		}
		if p.Treated, err = treated(ctx); err != nil {
			return p, err
		}
		p.After, err = control(ctx)
		return p, err
	}
}

// Ratios is a figure of the treated by the mean of its controls, over the rounds.
func Ratios[T any](pairs []Pair[T], of func(T) float64) Spread {
	return Figures(pairs, func(p Pair[T]) float64 { return Ratio(of(p.Treated), (of(p.Before)+of(p.After))/2) })
}

// Figures is any figure of a round, over the rounds; 0 is none.
func Figures[T any](pairs []Pair[T], of func(Pair[T]) float64) Spread {
	var v []float64
	for _, p := range pairs {
		if f := of(p); f != 0 {
			v = append(v, f)
		}
	}
	return SpreadOf(v)
}

// Latencies are the medians of the percentiles.
func Latencies(pairs []Pair[Sample]) (control, treated Percentiles) {
	var controls, treateds []Sample
	for _, p := range pairs {
		controls, treateds = append(controls, p.Before, p.After), append(treateds, p.Treated)
	}
	return medians(controls).Latency, medians(treateds).Latency
}
