package harness

import (
	"fmt"
	"strconv"
)

// A Confidence says what rounds a figure is of.
type Confidence struct {
	Kept    int  `json:"rounds_kept"`
	Drifted int  `json:"rounds_thrown_away_for_drift"`       // the controls differed
	Foreign int  `json:"rounds_thrown_away_for_foreign_cpu"` // other processes took too much
	Noisy   bool `json:"noisy"`                              // no round was good, or none was looked at: the figures prove nothing
}

// The limits of a round that is kept.
const (
	floorDrift   = 1.5  // the larger control by the smaller
	foreignCores = 0.25 // taken by other processes
)

// A noise is why a round is thrown away; empty: it is kept.
type noise string

const (
	drift   noise = "the controls differ"
	foreign noise = "other processes took the CPU"
)

// noise judges a round at its end.
func (s *Session) noise(q Quiet, drifts bool) noise {
	switch {
	case s.Smoke:
		return ""
	case drifts:
		return drift
	case q.Noisy():
		return foreign
	}
	return ""
}

// drifted says whether two runs of the same thing are too far apart to compare anything with.
func drifted(before, after float64) bool {
	return min(before, after) <= 0 || max(before, after) > floorDrift*min(before, after)
}

// count adds a round, and says whether it is kept.
func (c *Confidence) count(why noise) bool {
	switch why {
	case drift:
		c.Drifted++
	case foreign:
		c.Foreign++
	default:
		c.Kept++
	}
	return why == ""
}

func (c Confidence) progress(wanted int, why noise) string {
	if why != "" {
		return fmt.Sprintf("a round is thrown away, because %s; %d of %d kept", why, c.Kept, wanted)
	}
	return fmt.Sprintf("round %d of %d", c.Kept, wanted)
}

// KeptCell and ThrownCell are for a table: the rounds that were kept, and those that were not and why.
func (c Confidence) KeptCell() string {
	if c.Noisy {
		return strconv.Itoa(c.Kept) + " noisy"
	}
	return strconv.Itoa(c.Kept)
}

// ThrownCell is 0, or as 3: 2 drift, 1 CPU.
func (c Confidence) ThrownCell() string {
	if c.Drifted+c.Foreign == 0 {
		return "0"
	}
	return fmt.Sprintf("%d: %d drift, %d CPU", c.Drifted+c.Foreign, c.Drifted, c.Foreign)
}
