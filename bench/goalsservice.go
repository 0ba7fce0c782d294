package main

import (
	"fmt"

	"holdfast/bench/harness"
)

// The goals of a service with bad sinks, with a long backlog, and at rest.

func sinkGoals(r *report) []harness.Goal {
	dead := harness.Unmeasured("a dead sink: accepts, and the other sinks", "≥ 0.95 of those without")
	if d := r.Dead; d != nil {
		dead.Judge(fmt.Sprintf("accepts %s, end to end %s", d.Accept, d.E2E), min(d.Accept.Median, d.E2E.Median) >= 0.95, d.Confidence)
	}
	slow := harness.Unmeasured("a slow sink on the disk: p99 of accept", "≤ 1.5 × that without")
	if d := r.Slow; d != nil {
		slow.AtMost(1.5, d.P99, d.Confidence)
	}
	return []harness.Goal{dead, slow}
}

// handover is the configured buffer between commit and feeds, in MiB: the queue's default, shared by all sinks.
const handover = 8

// growthGoals compare the largest backlog with the smallest. How large it was is told: the goals are about a million for
// the drain, and about 10 million for the rest.
func growthGoals(r *report) []harness.Goal {
	drain := harness.Unmeasured("drain of a backlog by 3 webhook sinks", "≥ 1 M deliveries/s, of 1 M items")
	during := harness.Unmeasured("accepts during that drain", "≥ 0.7 of those without")
	accepts := harness.Unmeasured("growth: accepts with many waiting", "≥ 0.9 of those with 10 k")
	drains := harness.Unmeasured("growth: deliveries with many waiting", "≥ 0.9 of those with 10 k")
	ready := harness.Unmeasured("growth: from exec to ready", "< 1 s, after SIGTERM and kill -9")
	memory := harness.Unmeasured("growth: RssAnon", fmt.Sprintf("≤ an empty service + 64 MiB + %d MiB hand-over", handover))
	g := r.Growth
	if g == nil {
		return []harness.Goal{drain, during, accepts, drains, ready, memory}
	}
	at := " at " + harness.Count(float64(g.Sizes[len(g.Sizes)-1].Waiting))
	drain.Judge(g.Rate.Format("%.0f")+at, g.Rate.Median >= 1e6, g.Confidence)
	if during.AtLeast(0.7, g.During, g.Confidence); g.During.N == 0 {
		during.Measured, during.Standing = "the backlog was gone before", harness.NotProven
	}
	accepts.Judge(g.Accept.String()+at, g.Accept.Median >= 0.9, g.Confidence)
	drains.Judge(g.Drain.String()+at, g.Drain.Median >= 0.9, g.Confidence)
	ready.Judge(fmt.Sprintf("%s ms, %s ms%s", g.OpenStop.Format("%.0f"), g.OpenKill.Format("%.0f"), at), max(g.OpenStop.Median, g.OpenKill.Median) < 1000, g.Confidence)
	memory.Judge(fmt.Sprintf("%s MiB more%s", g.Grown.Over(harness.MiB).Format("%+.0f"), at), g.Grown.Median <= (64+handover)*harness.MiB, g.Confidence)
	return []harness.Goal{drain, during, accepts, drains, ready, memory}
}

// quietWakes is what we take for no wake-up: a minute has some timers of the runtime.
const quietWakes = 0.5

func idleGoals(r *report) []harness.Goal {
	wakes := harness.Unmeasured("idle: wake-ups", "0 per second that no timer asked for")
	rss := harness.Unmeasured("idle: RSS", "≤ 25 MiB")
	start := harness.Unmeasured("start, from exec to ready", "≤ 50 ms")
	if i := r.Idle; i != nil {
		once := harness.Confidence{Kept: 1, Noisy: i.Noisy}
		wakes.Judge(fmt.Sprintf("%.1f/s, %.2f ms of CPU per second", i.WakeUps, i.CPU), i.WakeUps <= quietWakes, once)
		rss.Judge(fmt.Sprintf("%.1f MiB", float64(i.RSS)/harness.MiB), i.RSS <= 25*harness.MiB, once)
		start.Judge(i.Start.Format("%.0f")+" ms", i.Start.Median <= 50, harness.Confidence{Kept: i.Start.N, Noisy: i.Noisy})
	}
	return []harness.Goal{wakes, rss, start}
}

func flashGoals(r *report) (list []harness.Goal) {
	for i, want := range []struct {
		delay string
		kib   float64
	}{{"0", 9}, {"1 s", 1.5}} {
		g := harness.Unmeasured("flash: 10 items/s, commit_delay "+want.delay, fmt.Sprintf("≤ %g KiB per item", want.kib))
		if i < len(r.Flash) {
			g.Judge(fmt.Sprintf("%.1f KiB", r.Flash[i].Bytes/1024), r.Flash[i].Bytes <= want.kib*1024, harness.Confidence{Kept: 1, Noisy: r.Idle.Noisy})
		}
		list = append(list, g)
	}
	return list
}
