package harness

import (
	"fmt"
	"io"
	"strconv"
)

// MiB is what sizes are printed in.
const MiB = 1 << 20

// PrintRows writes the rows of comparisons, nothing if there are none.
func PrintRows(w io.Writer, rows []Row) {
	if len(rows) == 0 {
		return
	}
	t := NewTable(w, "load\tsystem\tK\tclass\taccept/s\tratio\te2e/s\tratio\tp50 µs\tp99\tp99.9\tCPU µs\tRSS MiB\tB/item\tratio\tdevice B\tratio\tflushes\t"+
		"disk MiB\tdrained\tstart ms\tunique/twice/missing\tkept\tthrown")
	for _, r := range rows {
		head := []string{r.Workload, r.System, strconv.Itoa(r.Sinks), r.Class}
		if r.Failed != "" {
			t.Row(append(head, "no figures: "+r.Failed)...)
			continue
		}
		own := "-"
		if r.Bytes > 0 {
			own = decimals(r.Bytes, 0)
		}
		t.Row(append(head, Count(r.Accept), r.AcceptRatio.String(), Count(r.E2E), r.E2ERatio.String(),
			Count(r.Latency.P50), Count(r.Latency.P99), Count(r.Latency.P999), decimals(r.CPU, 1), mebi(r.RSS),
			own, r.BytesRatio.String(), decimals(r.Device, 0), r.DeviceRatio.String(), decimals(r.Flushes, 3),
			mebi(r.Disk), mebi(r.Drained), decimals(r.Start, 0), r.Verdict.cell(), r.KeptCell(), r.ThrownCell())...)
	}
	t.End()
}

// PrintProofs writes what was seen of durability, nothing if nobody looked.
func PrintProofs(w io.Writer, proofs []Proof) {
	if len(proofs) == 0 {
		return
	}
	t := NewTable(w, "durability\tclaimed\tproven\tputs\tp50 µs\tfloor's\tdevice flushes/put\tcommits/put\tfsync calls/put\tkept\tthrown")
	for _, p := range proofs {
		traced := "not traced"
		if p.Syncs >= 0 {
			traced = decimals(p.Syncs, 2)
		}
		t.Row(p.System, p.Claimed, p.Class, strconv.Itoa(p.Puts), Count(p.P50), Count(p.FloorP50), decimals(p.Flushes, 2),
			decimals(p.Commits, 2), traced, p.KeptCell(), p.ThrownCell())
	}
	t.End()
}

// PrintBacklogs writes how systems start with items waiting, nothing if none was asked to.
func PrintBacklogs(w io.Writer, backlogs []Backlog) {
	if len(backlogs) == 0 {
		return
	}
	t := NewTable(w, "with a backlog\tK\twaiting\taccept/s\tdisk MiB\tstart ms\tRSS MiB\tdeliveries/s\tdrained MiB\tforeign cores")
	for _, b := range backlogs {
		t.Row(b.System, strconv.Itoa(b.Sinks), Count(float64(b.Waiting)), Count(b.Accept), mebi(b.Peak), decimals(b.Start, 0), mebi(b.RSS),
			Count(b.Drain), mebi(b.Drained), decimals(b.Foreign, 2))
	}
	t.End()
}

func decimals(v float64, n int) string { return strconv.FormatFloat(v, 'f', n, 64) }

func mebi(n int64) string { return fmt.Sprintf("%.0f", float64(n)/MiB) }
