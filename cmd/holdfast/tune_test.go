package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestEnvironmentOverrulesTheTuning(t *testing.T) {
	procs, percent := runtime.GOMAXPROCS(0), debug.SetGCPercent(100)
	defer func() { runtime.GOMAXPROCS(procs); debug.SetGCPercent(percent) }()
	tuneFor(func(string) string { return "1" })
	if p, g := runtime.GOMAXPROCS(0), debug.SetGCPercent(100); p != procs || g != 100 {
		t.Errorf("GOMAXPROCS and GOGC are set, and it has %d and %d", p, g)
	}
	tuneFor(func(string) string { return "" })
	if p, g := runtime.GOMAXPROCS(0), debug.SetGCPercent(100); p != procs+moreProcs || g != gcPercent {
		t.Errorf("without them it has %d and %d", p, g)
	}
}
