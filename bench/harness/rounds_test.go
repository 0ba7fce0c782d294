package harness

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A fake is a system that takes no time, and hands its sinks what it likes.
type fake struct {
	tally   *Tally
	deliver func(t *Tally, sink int, body []byte)
	stopped *int
}

func (f fake) Dial(int) (Client, error) { return f, nil }
func (f fake) PIDs() []int              { return nil }
func (f fake) Stop() error              { *f.stopped++; return nil }
func (f fake) Close() error             { return nil }

func (f fake) Put(_ context.Context, seq, n int) error {
	for i := range n {
		body := NewBody()
		SetSeq(body, seq+i)
		for sink := range f.tally.Sinks() {
			f.deliver(f.tally, sink, body)
		}
	}
	return nil
}

func once(t *Tally, sink int, body []byte) { t.Scan(sink, body) }

func twice(t *Tally, sink int, body []byte) { t.Scan(sink, body); t.Scan(sink, body) }

// fakeSystem has two sinks, unless it is a floor.
func fakeSystem(name string, sinks int, stopped *int, deliver func(*Tally, int, []byte)) System {
	return System{Name: name, Sinks: sinks, Floor: "ground", Class: "A", Start: func(_ context.Context, p Place) (Running, error) {
		if deliver == nil {
			return nil, errors.New("it does not start")
		}
		return fake{p.Tally, deliver, stopped}, nil
	}}
}

// session is on a disk, and gone with the test.
func session(t *testing.T, o Options) *Session {
	t.Helper()
	if o.Dir = t.TempDir(); OnMemory(o.Dir) {
		t.Skip("the scratch directory is in memory; TMPDIR may name a disk")
	}
	s, err := NewSession(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSessionIsRefusedInMemory(t *testing.T) {
	if !OnMemory("/dev/shm") {
		t.Skip("/dev/shm is not in memory here")
	}
	if s, err := NewSession(Options{Dir: "/dev/shm"}); err == nil || !strings.Contains(err.Error(), "in memory") {
		t.Errorf("%v, %v", s, err)
	}
}

// A run in which an item came twice is wrong in a smoke run, and counted in another.
func TestItemThatComesTwiceIsAnErrorOfASmokeRun(t *testing.T) {
	stopped := 0
	w, sys := Workload{"p1", 1, 1, 10}, fakeSystem("twice", 2, &stopped, twice)
	if _, err := session(t, Options{Smoke: true}).Run(t.Context(), sys, w); err == nil || !strings.Contains(err.Error(), "20 deliveries came twice") {
		t.Errorf("%v", err)
	}
	got, err := session(t, Options{}).Run(t.Context(), sys, w)
	if diff := cmp.Diff(Verdict{Unique: 20, Duplicates: 20}, got.Verdict); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if stopped != 2 {
		t.Errorf("it was stopped %d times, want 2", stopped)
	}
}

func TestSystemThatFailsHasNoFiguresAndTheOthersDo(t *testing.T) {
	stopped := 0
	floors := []System{fakeSystem("ground", 0, &stopped, once)}
	good, bad := fakeSystem("good", 2, &stopped, once), fakeSystem("bad", 2, &stopped, nil)
	c, err := session(t, Options{Smoke: true, Rounds: 1}).Compare(t.Context(), Workload{"p1", 1, 1, 10}, floors, []System{good, bad})
	if err == nil || !strings.Contains(err.Error(), "it does not start") {
		t.Errorf("%v", err)
	}
	rows := c.Rows(map[string]string{"good": "A"})
	if len(rows) != 3 || rows[0].System != "ground" || rows[1].Accept <= 0 || rows[1].Class != "A" || rows[1].AcceptRatio.N != 1 {
		t.Errorf("%+v", rows)
	}
	if rows[2].Accept != 0 || !strings.Contains(rows[2].Failed, "it does not start") {
		t.Errorf("%+v", rows[2])
	}
	if FindRow(rows, "p1", "bad", 2) != nil || FindRow(rows, "p1", "good", 2) == nil {
		t.Error("the row without figures is found, or the other one is not")
	}
	var out strings.Builder
	PrintRows(&out, rows)
	if !strings.Contains(out.String(), "no figures: p1, bad, 2 sinks: start bad: it does not start") {
		t.Error(out.String())
	}
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	ground, own := System{Name: "ground", Floor: "ground"}, System{Name: "own", Sinks: 3, Floor: "ground"}
	one := func(floor, accept float64) Round {
		return Round{floors: [][2]Sample{{{Accept: floor}, {Accept: floor}}}, samples: []Sample{{Accept: accept}}, failed: []error{nil}}
	}
	// The disk is ten times faster in the last round: the ratio of the medians would be 90 / 100.
	c := Comparison{Floors: []System{ground}, Systems: []System{own}, Rounds: []Round{one(100, 50), one(100, 90), one(1000, 500)}}
	if got, want := c.Ratio(own, ground, Accept), (Spread{0.5, 0.5, 0.9, 3}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if got := c.Ratio(own, System{Name: "absent"}, Accept); got.N != 0 {
		t.Errorf("%v", got)
	}
}

func TestControlsThatDriftAreThrownAwayAndCounted(t *testing.T) {
	values := []float64{100, 50, 151, 100, 50, 150, 150, 75, 150} // of control, treated, control
	next := func(context.Context) (float64, error) {
		v := values[0]
		values = values[1:]
		return v, nil
	}
	var progress strings.Builder
	c := Change[float64]{"test", 2, func(v float64) float64 { return v }, Between(next, next)}
	pairs, got, err := c.Run(t.Context(), &Session{Options: Options{Progress: &progress}, began: time.Now()})
	if diff := cmp.Diff(Confidence{Kept: 2, Drifted: 1}, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if s := Ratios(pairs, c.Steady); s.N != 2 || s.Max != 0.5 || s.Min != 0.4 {
		t.Error(s)
	}
	if !strings.Contains(progress.String(), "thrown away, because the controls differ") {
		t.Error(progress.String())
	}
}

func TestRoundIsThrownAwayForDrift(t *testing.T) {
	for _, c := range []struct {
		before, after float64
		noisy         bool
	}{
		{100, 100, false}, {100, 150, false}, {150, 100, false}, {100, 151, true}, {151, 100, true}, {0, 0, true},
	} {
		if got := drifted(c.before, c.after); got != c.noisy {
			t.Errorf("%v: noisy is %v", c, got)
		}
	}
}

// An answer that is faster than the disk, or one that costs no flush, is not class A.
func TestClassAIsProvenByTimeAndByFlushes(t *testing.T) {
	for _, c := range []struct {
		name        string
		proof       Proof
		deviceTells bool
		hides       bool
		want        string
	}{
		{"all tell", Proof{P50: 100, FloorP50: 100, Flushes: 1, Syncs: 1}, true, false, "A"},
		{"answers first", Proof{P50: 10, FloorP50: 100, Flushes: 1, Syncs: 1}, true, false, "B"},
		{"page cache", Proof{P50: 100, FloorP50: 100, Flushes: 0.1, Syncs: -1}, true, false, "C"},
		{"flushes of others", Proof{P50: 100, FloorP50: 100, Flushes: 3, Syncs: 0}, true, false, "C"},
		{"O_SYNC", Proof{P50: 100, FloorP50: 100, Flushes: 1, Syncs: 0}, true, true, "A"},
		{"nobody tells", Proof{P50: 100, FloorP50: 100, Syncs: -1}, false, false, "A"},
	} {
		if c.proof.judge(c.deviceTells, c.hides); c.proof.Class != c.want {
			t.Errorf("%s: %s", c.name, c.proof.Class)
		}
	}
}
