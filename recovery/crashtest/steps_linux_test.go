//go:build !386 && !arm

package crashtest_test

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"holdfast/recovery/crashtest/powerfs"
)

// A step is a call by which the state on the disk changes.
type step struct {
	name  string
	op    powerfs.Op
	file  string // a pattern of its name
	first bool   // it is there only when a store is made
	once  bool   // and this one once in each life
}

// steps are all of them that a short life has, in the order of an item's.
var steps = []step{
	{"make the directory", powerfs.Mkdir, "data", true, false},
	{"lock it", powerfs.Write, "LOCK", false, true},
	{"make the log's directory", powerfs.Mkdir, "log", true, false},
	{"make the queues", powerfs.Create, "queues.db.tmp", true, false},
	{"write the new queues", powerfs.Write, "queues.db.tmp", true, false},
	{"sync the new queues", powerfs.Sync, "queues.db.tmp", true, false},
	{"name the queues", powerfs.Rename, "queues.db", true, false},
	{"sync the directory", powerfs.SyncDir, "data", false, true},
	{"make a spare", powerfs.Create, "spare.tmp", false, false},
	{"allocate a spare", powerfs.Allocate, "spare.tmp", false, false},
	{"write a header", powerfs.Write, "spare.tmp", false, false},
	{"sync a header", powerfs.Sync, "spare.tmp", false, false},
	{"name a segment", powerfs.Rename, "*.log", false, false},
	{"sync the log's directory", powerfs.SyncDir, "log", false, false},
	{"append", powerfs.Write, "*.log", false, false},
	{"sync an append between commit and answer", powerfs.Sync, "*.log", false, false},
	{"write marks", powerfs.Write, "queues.db", false, false},
	{"sync marks", powerfs.Sync, "queues.db", false, false},
	{"make keys", powerfs.Create, "*.keys.tmp", false, false},
	{"sync keys", powerfs.Sync, "*.keys.tmp", false, false},
	{"name keys", powerfs.Rename, "*.keys", false, false},
	{"cut a sealed segment", powerfs.Truncate, "*.log", false, false},
	{"put a segment aside", powerfs.Rename, "*.gone.tmp", false, false},
	{"remove a segment", powerfs.Unlink, "*.gone.tmp", false, false},
}

// Guarantees G1, G2, D1, in part: what is on the disk. The process is killed before and after each named step; the power
// goes with it, or does not.
func TestEndAtEveryStepLosesNothing(t *testing.T) {
	needFuse(t)
	repeats(t)
	sum := line{fault: "kill and power cut at each named step"}
	for i, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			var r *powered
			var producers []func(context.Context)
			cases := share(6) * rounds()
			for n := range cases {
				if r == nil || s.first {
					r = newPowered(t, 400+uint64(i), three()...)
					producers = five(r.rig)
				}
				e := ending{step: s, after: n%2 == 1, p: []float64{-1, 0, .5}[n/2%3], n: 1 + n/2%3}
				if s.first || s.once {
					e.n = 1
				}
				if !r.endAt(e, producers) {
					t.Errorf("%v: it does not come", e)
					break
				}
				sum.cases++
				if s.first {
					r.cut(150*time.Millisecond, producers, 0) // what the restart has found is durable, too
				}
				if s.first || n == cases-1 {
					sum.add(r.settle(producers[2]))
					sum.deaths += r.died
				}
			}
		})
	}
	sum.control = lyingStep(t)
	table.line(t, sum)
}

// An ending is how a life ends: before or after the n-th time of a step.
type ending struct {
	step
	after bool
	n     int
	p     float64 // the power goes, and so much is kept; below 0: it does not
}

func (e ending) String() string {
	return fmt.Sprintf("%s %d, after %v, p %v", e.name, e.n, e.after, e.p)
}

// endAt runs a life until its ending, and reports whether that came.
func (r *powered) endAt(e ending, producers []func(context.Context)) bool {
	r.Helper()
	launched, met := make(chan struct{}), make(chan time.Time, 1)
	hook := func(powerfs.Call) {
		<-launched
		if e.p >= 0 {
			r.power.Freeze()
		}
		r.process.Signal(syscall.SIGKILL)
		met <- time.Now()
	}
	f := powerfs.Fault{Op: e.op, Name: e.file, N: e.n, Before: hook}
	if e.after {
		f.Before, f.After = nil, hook
	} else if e.p < 0 {
		f.Err = syscall.EIO // nobody hears of it: it did not happen
	}
	r.power.Inject(f)
	r.launch()
	close(launched)
	at := r.await(met, producers)
	switch {
	case at.IsZero():
		r.lives()
		r.off(1)
		return false
	case e.p >= 0:
		r.ended(r.goes(e.p))
	default:
		r.process.Kill()
		r.ended(at)
	}
	r.power.Heal()
	return true
}

// await lets producers send, from when the process listens, until something is met. Zero: it is not.
func (r *powered) await(met <-chan time.Time, producers []func(context.Context)) (at time.Time) {
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	for !r.process.Await(2 * time.Millisecond) {
		select {
		case at = <-met:
			return at
		case <-deadline.C:
			return at
		default:
		}
	}
	wait := func() {
		select {
		case at = <-met:
		case <-deadline.C:
		case <-r.process.Ended():
			select {
			case at = <-met: // which may be why
			default:
			}
		}
	}
	if r.process.URL == "" {
		wait()
		return at
	}
	r.during(producers, wait)
	return at
}

// lyingStep is the control: the syncs of appends lie, and the power goes after one of them.
func lyingStep(t *testing.T) (says string) {
	says = "not run"
	t.Run("control", func(t *testing.T) {
		r := newPowered(t, 4, three()...)
		r.lies = true
		r.receivers[1].down.Store(true)
		producers := five(r.rig)
		marks := steps[slices.IndexFunc(steps, func(s step) bool { return s.op == powerfs.Sync && s.file == "queues.db" })]
		for range 3 {
			r.power.Inject(powerfs.Fault{Op: powerfs.Sync, Name: "*.log", Forever: true, Lie: true})
			r.endAt(ending{step: marks, n: 12}, producers)
		}
		r.receivers[1].down.Store(false)
		says = control(t, "steps with a sync that lies", r.settle(nil))
	})
	return says
}
