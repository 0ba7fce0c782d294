package main

import (
	"fmt"
	"io"

	"holdfast/bench/harness"
)

// print writes everything that was measured, and the goals last.
func (r *report) print(w io.Writer) {
	r.Heading.Print(w)
	harness.PrintProofs(w, r.Proofs)
	harness.PrintRows(w, r.Rows)
	r.printLoads(w)
	harness.PrintBacklogs(w, r.Restarts)
	r.printGrowth(w)
	r.printRest(w)
	harness.PrintGoals(w, r.Goals)
	fmt.Fprintf(w, "\n%.0f s\n", r.Seconds)
}

func (r *report) printLoads(w io.Writer) {
	if len(r.Loads) == 0 {
		return
	}
	t := harness.NewTable(w, "load of 64 streams\toffered/s\tp50 µs\tp99\tp99.9\tfloor's p50\tp99\tp99.9\tp99 ratio\tkept\tthrown")
	for _, l := range r.Loads {
		t.Row(fmt.Sprintf("%.0f %% of the maximum", l.Share*100), harness.Count(l.Offered), harness.Count(l.Holdfast.P50), harness.Count(l.Holdfast.P99),
			harness.Count(l.Holdfast.P999), harness.Count(l.Floor.P50), harness.Count(l.Floor.P99), harness.Count(l.Floor.P999),
			l.P99Ratio.String(), l.KeptCell(), l.ThrownCell())
	}
	t.End()
}

func (r *report) printGrowth(w io.Writer) {
	g := r.Growth
	if g == nil {
		return
	}
	t := harness.NewTable(w, "waiting\taccept/s\tdeliveries/s\tRssAnon MiB\treopened\tready after SIGTERM, ms\tafter kill -9\tdisk MiB")
	t.Row("0", "", "", mebi(g.Empty))
	for _, s := range g.Sizes {
		t.Row(harness.Count(float64(s.Waiting)), harness.Count(s.Accept), harness.Count(s.Drain), mebi(s.RssAnon), mebi(s.Reopened),
			fmt.Sprintf("%.0f", s.OpenStop), fmt.Sprintf("%.0f", s.OpenKill), mebi(s.DiskBytes))
	}
	t.End()
	fmt.Fprintf(w, "largest by smallest, in %s rounds (thrown away: %s): accepts %s, deliveries %s\n", g.KeptCell(), g.ThrownCell(), g.Accept, g.Drain)
	fmt.Fprintf(w, "its first half goes with %s deliveries/s; accepts during the second are %s of those without\n", g.Rate.Format("%.0f"), g.During)
}

func mebi(n int64) string { return fmt.Sprintf("%.0f", float64(n)/harness.MiB) }

func (r *report) printRest(w io.Writer) {
	if r.Dead == nil && r.Slow == nil && r.Idle == nil {
		return
	}
	t := harness.NewTable(w, "what\tfigures\tkept\tthrown")
	if d := r.Dead; d != nil {
		t.Row("a dead sink", fmt.Sprintf("accepts %s, end to end %s of those without; p99 %s", d.Accept, d.E2E, d.P99), d.KeptCell(), d.ThrownCell())
	}
	if d := r.Slow; d != nil {
		t.Row("a slow sink behind", fmt.Sprintf("accepts at half load %s, p99 %s of those without", d.Accept, d.P99), d.KeptCell(), d.ThrownCell())
	}
	if i := r.Idle; i != nil {
		t.Row("idle", fmt.Sprintf("start %s ms, RSS %.1f MiB, %.1f wake-ups/s, %.2f ms CPU/s in %.0f s",
			i.Start.Format("%.0f"), float64(i.RSS)/harness.MiB, i.WakeUps, i.CPU, i.Seconds))
		calls := "no strace"
		if i.Calls != nil {
			calls = harness.ListCalls(i.Calls)
		}
		t.Row("idle, system calls", calls)
	}
	for _, f := range r.Flash {
		t.Row("flash, commit_delay "+f.CommitDelay, fmt.Sprintf("%s B written per item at 10 items/s, of %d items", harness.Count(f.Bytes), f.Items))
	}
	t.End()
}
