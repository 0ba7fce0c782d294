package main

import (
	"fmt"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
	"holdfast/bench/subject"
)

// goals judges everything that can be judged from a report.
func goals(r *report) (list []harness.Goal) {
	for _, of := range []func(*report) []harness.Goal{classGoals, floorGoals, byteGoals, latencyGoals, sinkGoals, growthGoals, idleGoals, flashGoals} {
		list = append(list, of(r)...)
	}
	return list
}

func classGoals(r *report) []harness.Goal {
	g := harness.Unmeasured("durability: class A, proven by flushes and the gap test", "library, stream, POST")
	good, measured := true, ""
	var c harness.Confidence
	for i, p := range r.Proofs {
		if i > 0 {
			measured += ", "
		}
		measured += fmt.Sprintf("%s %s, %.2f of the floor's time", p.System, p.Class, harness.Ratio(p.P50, p.FloorP50))
		good, c.Noisy, c.Kept = good && p.Class == "A", c.Noisy || p.Noisy, p.Kept
	}
	if len(r.Proofs) > 0 {
		g.Judge(measured, good, c)
	}
	return []harness.Goal{g}
}

// floorGoals are those that compare a row with its floor; beside them stand those that only the peers can judge.
func floorGoals(r *report) (list []harness.Goal) {
	for _, want := range []struct {
		name, workload, system string
		least                  float64
		peers                  string
	}{
		{"library, 64 single producers, K=3, end to end", "p64", subject.NameLibrary, 0.85, ""},
		{"library, 4 × 256, K=3, end to end", "b256", subject.NameLibrary, 0.8, ""},
		{"stream, 64 connections, K=3, end to end", "p64", subject.NameStream, 0.8, "≥ 1 × redis-always"},
		{"POST, 64 connections, K=3, end to end", "p64", subject.NamePost, 0.55, "≥ 0.7 × redis-always"},
		{"stream, 1 connection", "p1", subject.NameStream, 0, "≥ 1.2 × redis-always"},
		{"POST, 1 connection", "p1", subject.NamePost, 0, "≥ 1.05 × redis-always"},
		{"4 streams, 256 in flight, K=3, end to end", "b256", subject.NameStream, 0.3, "≥ 4.5 × redis-always, first of class A"},
	} {
		if want.least > 0 {
			g := harness.Unmeasured(want.name, fmt.Sprintf("≥ %.2f of the floor", want.least))
			if w := harness.FindRow(r.Rows, want.workload, want.system, sinkCount); w != nil {
				g.AtLeast(want.least, w.E2ERatio, w.Confidence)
			}
			list = append(list, g)
		}
		if want.peers != "" {
			list = append(list, harness.Goal{Name: want.name, Want: want.peers, Standing: harness.NeedsPeers})
		}
	}
	return list
}

// byteGoals are about bytes written, in every mode: the worst one is judged.
func byteGoals(r *report) []harness.Goal {
	const most = 1.1
	floors := harness.Unmeasured("bytes written, every mode", "≤ 1.1 × the floor's")
	eights := harness.Unmeasured("bytes written, K=8", "≤ 1.1 × those of K=1")
	worst, worstEight := 0.0, 0.0
	for _, w := range r.Rows {
		if w.System == floor.NameHere || w.System == floor.NameTCP || w.Failed != "" {
			continue
		}
		if w.BytesRatio.Median > worst {
			worst = w.BytesRatio.Median
			floors.Judge(fmt.Sprintf("%s at worst: %s, %s, K=%d; the device says %s", w.BytesRatio, w.System, w.Workload, w.Sinks, w.DeviceRatio),
				worst <= most, w.Confidence)
		}
		if w.Sinks == 8 && w.ByOneSink.Median > worstEight {
			worstEight = w.ByOneSink.Median
			eights.Judge(fmt.Sprintf("%s at worst: %s, %s", w.ByOneSink, w.System, w.Workload), worstEight <= most, w.Confidence)
		}
	}
	return []harness.Goal{floors, eights}
}

func latencyGoals(r *report) []harness.Goal {
	g := harness.Unmeasured("p99 of accept at half of the maximum rate", "≤ 2 × the floor's")
	for _, l := range r.Loads {
		if l.Share == goalShare {
			g.AtMost(2, l.P99Ratio, l.Confidence)
		}
	}
	return []harness.Goal{g}
}
