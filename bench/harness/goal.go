package harness

import (
	"fmt"
	"io"
)

// A Goal is one demand of what holdfast must reach, and whether it does.
type Goal struct {
	Name     string   `json:"name"`
	Want     string   `json:"want"`
	Measured string   `json:"measured"`
	Rounds   string   `json:"rounds,omitempty"` // that were kept
	Standing Standing `json:"verdict"`
}

// A Standing is how a goal stands.
type Standing string

// The standings.
const (
	Met         Standing = "met"
	Missed      Standing = "missed"
	NotProven   Standing = "not proven"   // measured, but in noisy rounds, or with -quick
	NotMeasured Standing = "not measured" // its part was not asked for, or failed
	NeedsPeers  Standing = "needs bench/peers"
)

// Unmeasured is a goal before anything is known of it.
func Unmeasured(name, want string) Goal { return Goal{Name: name, Want: want, Standing: NotMeasured} }

// Judge fills in what was measured; noisy figures prove nothing.
func (g *Goal) Judge(measured string, good bool, c Confidence) {
	g.Measured, g.Rounds, g.Standing = measured, c.KeptCell(), Missed
	switch {
	case c.Noisy:
		g.Standing = NotProven
	case good:
		g.Standing = Met
	}
}

// AtLeast judges the median of a spread; one without rounds stays unmeasured.
func (g *Goal) AtLeast(least float64, s Spread, c Confidence) {
	if s.N > 0 {
		g.Judge(s.String(), s.Median >= least, c)
	}
}

// AtMost judges the median of a spread; one without rounds stays unmeasured.
func (g *Goal) AtMost(most float64, s Spread, c Confidence) {
	if s.N > 0 {
		g.Judge(s.String(), s.Median <= most, c)
	}
}

// PrintGoals writes a table of the goals that were measured, and how many were not.
func PrintGoals(w io.Writer, goals []Goal) {
	t := NewTable(w, "goal\twant\tmeasured\trounds\tverdict")
	others := 0
	for _, g := range goals {
		if g.Standing == NotMeasured {
			others++
			continue
		}
		t.Row(g.Name, g.Want, g.Measured, g.Rounds, string(g.Standing))
	}
	t.End()
	if others > 0 {
		fmt.Fprintf(w, "%d more goals were not measured\n", others)
	}
}
