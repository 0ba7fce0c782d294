package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
	"holdfast/bench/subject"
)

// TestMain lets the test binary be the floor, as the program is.
func TestMain(m *testing.M) {
	if floor.Child() {
		return
	}
	m.Run()
}

// disk is a directory that run takes.
func disk(t *testing.T) string {
	dir := t.TempDir()
	if harness.OnMemory(dir) {
		t.Skip("the scratch directory is in memory; TMPDIR may name a disk")
	}
	return dir
}

// The comparison and the backlog run, every accepted item reaches every sink, and nothing is left behind. The other parts
// run in CI, by go run ./bench -quick.
func TestLargestPartsRunAndNothingIsMissing(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts dozens of servers")
	}
	dir := disk(t)
	o, err := parseOptions([]string{"-quick", "-only", "compare,backlog", "-dir", dir, "-json", filepath.Join(dir, "out.json"), "-plots", filepath.Join(dir, "plots")})
	if err != nil {
		t.Fatal(err)
	}
	o.Scale, o.most, o.second = 0.002, 2000, 50*time.Millisecond
	var out strings.Builder
	if err := run(t.Context(), o, &out, t.Output()); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	var r report
	b, err := os.ReadFile(filepath.Join(dir, "out.json"))
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	if want := 3 * (2 + 7); len(r.Rows) != want {
		t.Errorf("%d rows, want %d", len(r.Rows), want)
	}
	for _, w := range r.Rows {
		if w.Missing != 0 || w.Duplicates != 0 || w.Sinks > 0 && w.Unique == 0 || w.Accept <= 0 {
			t.Errorf("%s, %s, K=%d: %+v", w.Workload, w.System, w.Sinks, w.Sample)
		}
	}
	for _, g := range append(append(floorGoals(&r), byteGoals(&r)...), growthGoals(&r)...) {
		if g.Standing == harness.NotMeasured {
			t.Errorf("%s: %s", g.Name, g.Standing)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(dir, "out.json"), filepath.Join(dir, "plots")}
	if diff := cmp.Diff(want, left); diff != "" {
		t.Error(diff)
	}
}

// A bench whose sink does not get everything says so, ends with an error, and gives no figures.
func TestLostItemIsNoResult(t *testing.T) {
	dir := disk(t)
	tally := harness.NewTally(1, 64)
	r, err := subject.Library(1).Start(t.Context(), harness.Place{Dir: dir, Items: 64, Tally: tally})
	if err != nil {
		t.Fatal(err)
	}
	p, err := harness.Produce(t.Context(), harness.Workload{Name: "p1", Producers: 1, Batch: 1, Items: 63}, 0, r.Dial)
	if err != nil || len(p.Latencies) != 63 {
		t.Fatal(p, err)
	}
	if err := tally.WaitTotal(t.Context(), 63); err != nil {
		t.Fatal(err)
	}
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	if v, err := tally.Verdict(); err == nil || v.Missing != 1 {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, args := range []string{"-only nothing", "-rounds 0", "-scale 0", "-scale 1e9", "-most 0", "-sinks 65", "more"} {
		if _, err := parseOptions(strings.Fields(args)); err == nil {
			t.Errorf("%s is taken", args)
		}
	}
}
