package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync"
)

// What a service wants other than Go does. Two threads are in a flush of the log or of queues.db for most of a busy
// service's time, and hold on to a processor of the scheduler's until its monitor takes that away: with two more there is
// one for who comes back, and POST gets 1.1 times as far on two cores. Where a quota leaves fewer than the machine has, more
// threads would only use it up sooner. A heap that grows to four times what is live takes 30 MiB more under full load, for
// 1.1 times the items in batches; GOMEMLIMIT bounds it.
const (
	moreProcs = 2
	gcPercent = 300
)

// tune sets that, once for the process, but for what the environment has set.
var tune = sync.OnceFunc(func() { tuneFor(os.Getenv) })

func tuneFor(getenv func(string) string) {
	if n := runtime.GOMAXPROCS(0); getenv("GOMAXPROCS") == "" && n >= runtime.NumCPU() {
		runtime.GOMAXPROCS(n + moreProcs)
	}
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
