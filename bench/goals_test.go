package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/bench/harness"
	"holdfast/bench/subject"
)

func TestGoalsAreMetMissedOrNotProven(t *testing.T) {
	good := harness.Spread{Median: 0.9, Min: 0.8, Max: 1, N: 5}
	r := &report{Rows: []harness.Row{
		{Workload: "p64", System: subject.NameLibrary, Sinks: 3, E2ERatio: good},
		{Workload: "b256", System: subject.NameLibrary, Sinks: 3, E2ERatio: harness.Spread{Median: 0.7, Min: 0.6, Max: 0.9, N: 5}},
		{Workload: "p64", System: subject.NamePost, Sinks: 3, E2ERatio: good, Confidence: harness.Confidence{Noisy: true}},
		{Workload: "b256", System: subject.NameStream, Sinks: 3, Failed: "something is missing"},
	}}
	count := map[harness.Standing]int{}
	for _, g := range floorGoals(r) {
		count[g.Standing]++
	}
	if diff := cmp.Diff(map[harness.Standing]int{harness.Met: 1, harness.Missed: 1, harness.NotProven: 1, harness.NotMeasured: 2, harness.NeedsPeers: 5}, count); diff != "" {
		t.Error(diff)
	}
	for _, g := range goals(&report{}) {
		if g.Standing != harness.NotMeasured && g.Standing != harness.NeedsPeers {
			t.Errorf("%s is %s, and nothing was measured", g.Name, g.Standing)
		}
	}
}

// One mode that writes too much is enough to miss the goal, and K=8 is compared with K=1 of the same round.
func TestWorstModeDecidesAboutBytes(t *testing.T) {
	row := func(workload string, sinks int, bytes, byOne float64) harness.Row {
		s := func(v float64) harness.Spread { return harness.Spread{Median: v, Min: v, Max: v, N: 5} }
		return harness.Row{Workload: workload, System: subject.NameStream, Sinks: sinks, BytesRatio: s(bytes), ByOneSink: s(byOne)}
	}
	got := byteGoals(&report{Rows: []harness.Row{row("p1", 3, 1.05, 1), row("p64", 8, 1.2, 1.01), row("b256", 8, 1, 1.02)}})
	if got[0].Standing != harness.Missed || got[1].Standing != harness.Met {
		t.Errorf("%+v", got)
	}
}
