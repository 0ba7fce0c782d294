package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestEnvironmentOverrulesTheTuning(t *testing.T) {
	procs, percent := runtime.GOMAXPROCS(runtime.NumCPU()), debug.SetGCPercent(100)
	defer func() { runtime.GOMAXPROCS(procs); debug.SetGCPercent(percent) }()
	tuneFor(func(string) string { return "1" })
	if p, g := runtime.GOMAXPROCS(0), debug.SetGCPercent(100); p != runtime.NumCPU() || g != 100 {
		t.Errorf("GOMAXPROCS and GOGC are set, and it has %d and %d", p, g)
	}
	tuneFor(func(string) string { return "" })
	if p, g := runtime.GOMAXPROCS(0), debug.SetGCPercent(100); p != runtime.NumCPU()+moreProcs || g != gcPercent {
		t.Errorf("without them it has %d and %d", p, g)
	}
	runtime.GOMAXPROCS(max(1, runtime.NumCPU()-1))
	few := runtime.GOMAXPROCS(0)
	tuneFor(func(string) string { return "" })
	if p := runtime.GOMAXPROCS(0); few < runtime.NumCPU() && p != few {
		t.Errorf("%d processors are allowed, and it has %d", few, p)
	}
}
