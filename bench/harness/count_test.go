package harness

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSpreadIsTheMedianAndTheRange(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Spread
	}{
		{nil, Spread{}},
		{[]float64{3}, Spread{3, 3, 3, 1}},
		{[]float64{9, 1}, Spread{5, 1, 9, 2}},
		{[]float64{0.9, 0.7, 0.8}, Spread{0.8, 0.7, 0.9, 3}},
		{[]float64{4, 1, 3, 100}, Spread{3.5, 1, 100, 4}},
	} {
		if got := SpreadOf(c.values); got != c.want {
			t.Errorf("%v: %v, want %v", c.values, got, c.want)
		}
	}
}

func TestPercentilesAreTheSmallestThatEnoughDoNotExceed(t *testing.T) {
	var took []time.Duration
	for i := 1000; i > 0; i-- {
		took = append(took, time.Duration(i)*time.Microsecond)
	}
	if diff := cmp.Diff(Percentiles{500, 990, 999}, percentilesOf(took)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Percentiles{7, 7, 7}, percentilesOf([]time.Duration{7 * time.Microsecond})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Percentiles{}, percentilesOf(nil)); diff != "" {
		t.Error(diff)
	}
}

func TestTallyTellsMissingTwiceAndAlien(t *testing.T) {
	ta := NewTally(2, 3)
	body := func(seq int) []byte { b := NewBody(); SetSeq(b, seq); return b }
	for seq := range 3 {
		ta.Scan(0, append(append([]byte(`{"body":"`), body(seq)...), '"'))
	}
	ta.Scan(1, append(append(body(0), '\n'), body(2)...))
	ta.Scan(1, body(0))
	v, err := ta.Verdict()
	if diff := cmp.Diff(Verdict{Unique: 5, Duplicates: 1, Missing: 1}, v); diff != "" || err == nil {
		t.Errorf("%v: %s", err, diff)
	}
	ta.Scan(1, body(1))
	if v, err = ta.Verdict(); err != nil || v.Missing != 0 || v.Unique != 6 {
		t.Errorf("%v, %v", v, err)
	}
	if err := ta.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	ta.Scan(1, body(1_000_000))
	if _, err = ta.Verdict(); err == nil {
		t.Error("an item that nobody sent is not told")
	}
}

func TestWaitForLostItemsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := NewTally(1, 1).Wait(t.Context())
		if err == nil || !strings.Contains(err.Error(), "1 deliveries are missing") {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took > Patience+time.Second {
			t.Errorf("after %v", took)
		}
	})
}

func TestTraceIsReadByItsColumns(t *testing.T) {
	const table = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 90.01    0.004000         200        20           fdatasync
  9.99    0.000444          11        40         3 futex
------ ----------- ----------- --------- --------- ----------------
100.00    0.004444          74        60         3 total
`
	got := parseTrace(table)
	if diff := cmp.Diff(map[string]int{"fdatasync": 20, "futex": 40}, got); diff != "" {
		t.Error(diff)
	}
	if got := ListCalls(got); got != "futex 40, fdatasync 20" {
		t.Error(got)
	}
}
