package main

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/cmd/holdfast/internal/cli"
)

// benched runs the command line with a bench to its end.
func benched(t *testing.T, ctx context.Context, args ...string) (code int, out, said string) {
	t.Helper()
	o, e := newTerminal(), newTerminal()
	streams := cli.Streams{In: strings.NewReader(""), Out: o, Err: e}
	code = cli.Main(ctx, append([]string{"bench"}, args...), streams, benchCommand())
	return code, o.String(), e.String()
}

func TestBenchMeasuresAScratchQueueAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	code, out, said := benched(t, t.Context(), "--data", dir, "--items", "1001", "--producers", "7", "--batch", "10", "-o", "json")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, said)
	}
	var r benchResult
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Items != 1001 || r.Sinks != 3 || r.PerSecond <= 0 || r.Delivered <= 0 || r.Delivered > r.PerSecond {
		t.Error(out)
	}
	l := r.Latency
	if times := []float64{l.Min, l.P50, l.P90, l.P99, l.P999, l.Max}; !slices.IsSorted(times) || l.Min <= 0 {
		t.Errorf("%v", times)
	}
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestBenchWithoutSinksOnlyAccepts(t *testing.T) {
	code, out, said := benched(t, t.Context(), "--data", t.TempDir(), "--items", "50", "--producers", "2", "--sinks", "0")
	if code != 0 || !regexp.MustCompile(`accepted +[0-9,]+ items/s`).MatchString(out) || strings.Contains(out, "delivered") {
		t.Errorf("exit code %d:\n%s%s", code, out, said)
	}
}

// Without --items the time ends it, and what is told is what was accepted.
func TestBenchEndsWithItsDuration(t *testing.T) {
	began := time.Now()
	code, out, said := benched(t, t.Context(), "--data", t.TempDir(), "--duration", "50ms", "--producers", "3", "-o", "json")
	var r benchResult
	if err := json.Unmarshal([]byte(out), &r); code != 0 || err != nil || r.Items == 0 || r.Seconds < 0.05 {
		t.Errorf("exit code %d: %s%s", code, out, said)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestBenchBudgetIsGrantedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		take := benchFlags{items: 10, duration: time.Second}.budget(time.Now())
		if got := []int{take(4), take(4), take(4), take(4)}; !slices.Equal(got, []int{4, 4, 2, 0}) {
			t.Errorf("%v", got)
		}
		take = benchFlags{duration: time.Second}.budget(time.Now())
		time.Sleep(time.Second - time.Millisecond)
		before := take(3)
		time.Sleep(time.Millisecond)
		if after := take(3); before != 3 || after != 0 {
			t.Errorf("%d before the end, and %d after", before, after)
		}
	})
}

func TestInterruptedBenchCleansUp(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code, out, said := benched(t, ctx, "--data", dir)
	if code != cli.ExitFailed || out != "" || !strings.Contains(said, "interrupted") {
		t.Errorf("exit code %d:\n%s%s", code, out, said)
	}
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestBenchOfARunningServerIsDeliveredByIt(t *testing.T) {
	for _, how := range [][]string{{}, {"--batch", "8"}, {"--stream", "--batch", "8"}, {"--stream"}} {
		p := start(t, "", "--data", filepath.Join(t.TempDir(), "data"))
		args := append([]string{"--server", p.url, "--items", "101", "--size", "20", "--producers", "3", "--yes", "-o", "json"}, how...)
		code, out, said := benched(t, t.Context(), args...)
		if code != 0 {
			t.Fatalf("%v: exit code %d: %s", how, code, said)
		}
		var r benchResult
		if err := json.Unmarshal([]byte(out), &r); err != nil || r.Sinks != 1 || r.Latency.Min <= 0 {
			t.Errorf("%v: %s, %v", how, out, err)
		}
		want := strings.Repeat(string(benchBody(20))+"\n", 101)
		p.out.await(t, regexp.QuoteMeta(want))
		p.end(t, 0)
		if got := p.out.String(); got != want {
			t.Errorf("%v: %d bytes were delivered, want %d", how, len(got), len(want))
		}
	}
}

func TestBenchAsksBeforeItPutsIntoARunningServer(t *testing.T) {
	p := start(t, "", "--data", filepath.Join(t.TempDir(), "data"))
	code, _, said := benched(t, t.Context(), "--server", p.url, "--items", "20")
	if code != cli.ExitUsage || !strings.Contains(said, "delivers them for real to stdout") || !strings.Contains(said, "--yes") {
		t.Errorf("exit code %d: %s", code, said)
	}
	p.end(t, 0)
	if got := p.out.String(); got != "" {
		t.Errorf("%d bytes were delivered", len(got))
	}
}

func TestBenchRefusesWhatMakesNoSense(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"--items -1", "--items -1: want 0 to"},
		{"--duration 0s", "--duration 0s: want more than 0"},
		{"--producers 0", "--producers 0: want 1 to"},
		{"--batch 1025", "--batch 1025"},
		{"--size 1000000 --batch 1024", "more than 8.0 MiB"},
		{"--stream", "--stream needs --server"},
		{"--server http://127.0.0.1:1 --sinks 2 --yes", "a running server has its own"},
	} {
		if code, _, said := benched(t, t.Context(), strings.Fields(c.args)...); code != cli.ExitUsage || !strings.Contains(said, c.says) {
			t.Errorf("%s: exit code %d: %s", c.args, code, said)
		}
	}
	code, _, said := benched(t, t.Context(), "--data", t.TempDir(), "--items", "100000000", "--size", "1000000")
	if code != cli.ExitTemporary || !strings.Contains(said, "want fewer items") {
		t.Errorf("exit code %d: %s", code, said)
	}
	if code, _, said := benched(t, t.Context(), "--server", "https://127.0.0.1:1", "--ca", "missing.pem", "--yes"); code != cli.ExitIO || !strings.Contains(said, "missing.pem") {
		t.Errorf("exit code %d: %s", code, said)
	}
	if code, _, said := benched(t, t.Context(), "--server", "http://127.0.0.1:1", "--yes"); code != cli.ExitUnreachable {
		t.Errorf("exit code %d: %s", code, said)
	}
}

func TestBenchBucketsKeepTheOrderAndThreePercent(t *testing.T) {
	last := -1
	for v := uint64(0); v < 1<<40; v += 1 + v/50 {
		b := benchBucket(v)
		low := benchLowest(b)
		if b < last || low > v || float64(v-low) > 0.032*float64(v) || benchBucket(low) != b {
			t.Fatalf("%d is in bucket %d after %d, which begins at %d", v, b, last, low)
		}
		last = b
	}
	if b := benchBucket(1<<63 - 1); b >= 64*benchSteps {
		t.Errorf("the longest time is in bucket %d", b)
	}
}

func TestBenchQuantilesAreThoseOfTheTimes(t *testing.T) {
	const seed = 6
	var times benchTimes
	if times.quantile(0.5) != 0 {
		t.Error("no times have a quantile")
	}
	for _, i := range rand.New(rand.NewPCG(seed, 0)).Perm(1000) {
		times.add(1, time.Duration(i+1))
	}
	got := []time.Duration{times.quantile(0), times.quantile(0.05), times.quantile(0.5), times.quantile(1)}
	want := []time.Duration{1, 50, time.Duration(benchLowest(benchBucket(500))), time.Duration(benchLowest(benchBucket(1000)))}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("seed %d: %s", seed, diff)
	}
}
