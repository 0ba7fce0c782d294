package main

import (
	"context"
	"maps"
	"os"
	"testing"
	"time"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
)

// TestMain lets the test binary be the servers, as the program is.
func TestMain(m *testing.M) {
	if floor.Child() || child() {
		return
	}
	os.Exit(m.Run())
}

// Every peer that is installed delivers what it has accepted to every sink, once: with producers of one item and of many,
// several at a time.
func TestEachPeerDeliversEverythingOnce(t *testing.T) {
	const sinks = 3
	for _, p := range peers() {
		t.Run(p.system(sinks).Name, func(t *testing.T) {
			if debian := p.missing(); debian != "" {
				t.Skipf("not installed: Debian has it as %s", debian)
			}
			s := session(t)
			for _, w := range []harness.Workload{{Name: "singles", Producers: 8, Batch: 1, Items: 1_000}, {Name: "batches", Producers: 2, Batch: 250, Items: 1_000}} {
				one, err := s.Run(t.Context(), p.system(sinks), w)
				if err != nil {
					t.Fatalf("%s: %v", w.Name, err)
				}
				if one.Unique != sinks*1_000 || one.Duplicates != 0 || one.Missing != 0 {
					t.Errorf("%s: %d unique, %d twice, %d missing; want %d, 0, 0", w.Name, one.Unique, one.Duplicates, one.Missing, sinks*1_000)
				}
			}
		})
	}
}

// The test above must be able to fail: a peer that forgets one item has no figures, and otherwise it has.
func TestAPeerThatLosesAnItemHasNoFigures(t *testing.T) {
	for forgets := range 2 {
		sys := harness.System{Name: "careless", Sinks: 1, Start: func(_ context.Context, p harness.Place) (harness.Running, error) {
			put := func(_ context.Context, bodies bodies) error {
				for _, b := range bodies[forgets:] {
					p.Tally.Scan(0, b)
				}
				return nil
			}
			return &library{put, func() error { return nil }}, nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // nobody need be patient
		one, err := session(t).Run(ctx, sys, harness.Workload{Name: "few", Producers: 1, Batch: 10, Items: 10})
		cancel()
		if lost := err != nil; lost != (forgets > 0) {
			t.Errorf("%d forgotten: %+v, %v", forgets, one, err)
		}
	}
}

// session is one with a scratch directory on a disk.
func session(t *testing.T) *harness.Session {
	s, err := harness.NewSession(harness.Options{Dir: t.TempDir(), Smoke: true})
	if err != nil {
		t.Skipf("%v; TMPDIR may name one", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestGoalsAreJudgedBesideThePeersOfClassA(t *testing.T) {
	of := func(v float64) harness.Spread { return harness.Spread{Median: v, Min: v, Max: v, N: 5} }
	r := report{Ratios: []ratio{
		{Workload: "p64", Form: "stream", Peer: nameRedis, Class: "A", E2E: of(1.2)},
		{Workload: "p64", Form: "stream", Peer: "nsqd", Class: "B", E2E: of(0.5)},
		{Workload: "b256", Form: "stream", Peer: nameRedis, Class: "A", E2E: of(4)},
		{Workload: "b256", Form: "library", Peer: "goque", Class: "A", E2E: of(0.9)},
	}}
	count := map[harness.Standing]int{}
	for _, g := range r.goals() {
		count[g.Standing]++
	}
	want := map[harness.Standing]int{harness.Met: 2, harness.Missed: 2, harness.NotMeasured: 4} // p64 twice; 4.5 × redis, and goque
	if !maps.Equal(count, want) {
		t.Errorf("%v, want %v", count, want)
	}
}
