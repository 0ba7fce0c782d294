package main

import (
	"fmt"

	"holdfast/bench/harness"
)

// The goals of a service with bad sinks, with a long backlog, and at rest.

func sinkGoals(r *report) []goal {
	dead := unmeasured("a dead sink: accepts, and the other sinks", "≥ 0.95 of those without")
	if d := r.Dead; d != nil {
		dead.judge(fmt.Sprintf("accepts %s, end to end %s", d.Accept, d.E2E), min(d.Accept.Median, d.E2E.Median) >= 0.95, d.Confidence)
	}
	slow := unmeasured("a slow sink on the disk: p99 of accept", "≤ 1.5 × that without")
	if d := r.Slow; d != nil {
		slow.atMost(1.5, d.P99, d.Confidence)
	}
	return []goal{dead, slow}
}

// handover is the configured buffer between commit and feeds, in MiB: the queue's default, shared by all sinks.
const handover = 8

// growthGoals compare the largest backlog with the smallest. How large it was is told: the goals are about a million for
// the drain, and about 10 million for the rest.
func growthGoals(r *report) []goal {
	drain := unmeasured("drain of a backlog by 3 webhook sinks", "≥ 1 M deliveries/s, of 1 M items")
	during := unmeasured("accepts during that drain", "≥ 0.7 of those without")
	accepts := unmeasured("growth: accepts with many waiting", "≥ 0.9 of those with 10 k")
	drains := unmeasured("growth: deliveries with many waiting", "≥ 0.9 of those with 10 k")
	ready := unmeasured("growth: from exec to ready", "< 1 s, after SIGTERM and kill -9")
	memory := unmeasured("growth: RssAnon", fmt.Sprintf("≤ an empty service + 64 MiB + %d MiB hand-over", handover))
	g := r.Growth
	if g == nil {
		return []goal{drain, during, accepts, drains, ready, memory}
	}
	at := " at " + harness.Count(float64(g.Sizes[len(g.Sizes)-1].Waiting))
	drain.judge(g.Rate.Format("%.0f")+at, g.Rate.Median >= 1e6, g.Confidence)
	if during.atLeast(0.7, g.During, g.Confidence); g.During.N == 0 {
		during.Measured, during.Verdict = "the backlog was gone before", notProven
	}
	accepts.judge(g.Accept.String()+at, g.Accept.Median >= 0.9, g.Confidence)
	drains.judge(g.Drain.String()+at, g.Drain.Median >= 0.9, g.Confidence)
	ready.judge(fmt.Sprintf("%s ms, %s ms%s", g.OpenStop.Format("%.0f"), g.OpenKill.Format("%.0f"), at), max(g.OpenStop.Median, g.OpenKill.Median) < 1000, g.Confidence)
	memory.judge(fmt.Sprintf("%s MiB more%s", g.Grown.Over(harness.MiB).Format("%+.0f"), at), g.Grown.Median <= (64+handover)*harness.MiB, g.Confidence)
	return []goal{drain, during, accepts, drains, ready, memory}
}

// quietWakes is what we take for no wake-up: a minute has some timers of the runtime.
const quietWakes = 0.5

func idleGoals(r *report) []goal {
	wakes := unmeasured("idle: wake-ups", "0 per second that no timer asked for")
	rss := unmeasured("idle: RSS", "≤ 25 MiB")
	start := unmeasured("start, from exec to ready", "≤ 50 ms")
	if i := r.Idle; i != nil {
		once := harness.Confidence{Kept: 1, Noisy: i.Noisy}
		wakes.judge(fmt.Sprintf("%.1f/s, %.2f ms of CPU per second", i.WakeUps, i.CPU), i.WakeUps <= quietWakes, once)
		rss.judge(fmt.Sprintf("%.1f MiB", float64(i.RSS)/harness.MiB), i.RSS <= 25*harness.MiB, once)
		start.judge(i.Start.Format("%.0f")+" ms", i.Start.Median <= 50, harness.Confidence{Kept: i.Start.N, Noisy: i.Noisy})
	}
	return []goal{wakes, rss, start}
}

func flashGoals(r *report) (list []goal) {
	for i, want := range []struct {
		delay string
		kib   float64
	}{{"0", 9}, {"1 s", 1.5}} {
		g := unmeasured("flash: 10 items/s, commit_delay "+want.delay, fmt.Sprintf("≤ %g KiB per item", want.kib))
		if i < len(r.Flash) {
			g.judge(fmt.Sprintf("%.1f KiB", r.Flash[i].Bytes/1024), r.Flash[i].Bytes <= want.kib*1024, harness.Confidence{Kept: 1, Noisy: r.Idle.Noisy})
		}
		list = append(list, g)
	}
	return list
}
