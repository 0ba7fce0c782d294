package crashtest_test

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"holdfast/recovery/crashtest/book"
)

// long makes the suites of a run as many times longer than what a change must pass before it lands, which is 1. Without it
// they do a tenth of that, so that all tests end soon.
var long = flag.Int("long", 0, "how many times the cases of every change; 0: a tenth of them")

// rounds is how many times a suite does its cases.
func rounds() int { return max(1, *long) }

// share is how many of n cases it does each time.
func share(n int) int {
	if *long == 0 {
		return max(2, n/10)
	}
	return n
}

// A line is what one suite says at its end.
type line struct {
	fault   string
	cases   int
	lost    int
	early   int
	wrong   int    // everything else that a judge counts, too
	deaths  int    // of the service, where it should have lived
	control string // what must fail, and that it did
}

func (l line) String() string {
	return fmt.Sprintf("| %s | %d | %d | %d | %d | %d | %s |", l.fault, l.cases, l.lost, l.early, l.wrong, l.deaths, l.control)
}

// add counts a verdict in.
func (l *line) add(v *book.Verdict) {
	l.lost += v.Lost
	l.early += v.Early
	l.wrong += v.Wrong + v.Beyond + v.Order
}

// A report is the lines of a run. Safe for concurrent use.
type report struct {
	mu    sync.Mutex
	lines []line // guarded by mu
}

var table report

// line adds one, and fails the test if anything in it is not as it has to be.
func (r *report) line(t testing.TB, l line) {
	t.Helper()
	if l.lost+l.early+l.wrong+l.deaths > 0 || l.control == "" {
		t.Errorf("not proven: %v", l)
	}
	t.Log(l)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, l)
}

// print ends a run.
func (r *report) print(w io.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.lines) == 0 {
		return
	}
	fmt.Fprintf(w, "| fault | cases | lost | early | wrong | deaths | control |\n|---|--:|--:|--:|--:|--:|---|\n")
	for _, l := range slices.SortedFunc(slices.Values(r.lines), func(a, b line) int { return cmp.Compare(a.fault, b.fault) }) {
		fmt.Fprintln(w, l)
	}
	fmt.Fprintf(w, "seed %d, long %d\n", *seed, *long)
}

// repeats has a test that fails say how it can be repeated.
func repeats(t testing.TB) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d; again: go test ./recovery/crashtest -run '^%s$' -seed %d -long %d", *seed, t.Name(), *seed, *long)
		}
	})
}
