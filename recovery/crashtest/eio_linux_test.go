//go:build !386 && !arm

package crashtest_test

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"holdfast/recovery/crashtest/book"
	"holdfast/recovery/crashtest/powerfs"
)

// Guarantee G4. The n-th write, sync, rename, truncate or unlink fails, once or from then on; what a failed sync leaves
// is what Linux leaves. The process ends within a second where it has to, nobody is acked whose request began after it,
// the restart heals, and when the power goes then everything is there.
func TestFailedCallLosesNothing(t *testing.T) {
	needFuse(t)
	repeats(t)
	sum := &failures{line: line{fault: "n-th call fails with EIO, then a power cut"}}
	t.Run("calls", func(t *testing.T) {
		for i, c := range []struct {
			op   powerfs.Op
			file string
		}{
			{powerfs.Write, ""}, {powerfs.Sync, ""}, {powerfs.SyncDir, ""}, {powerfs.Rename, ""}, {powerfs.Truncate, ""}, {powerfs.Unlink, ""},
			{powerfs.Sync, "queues.db"},
		} {
			for j, forever := range []bool{false, true} {
				f := failing{op: c.op, file: c.file, forever: forever}
				t.Run(f.String(), func(t *testing.T) {
					t.Parallel()
					sum.all(t, &f, 300+100*uint64(2*i+j))
				})
			}
		}
	})
	sum.control = lyingDisk(t, "a sync of the log that fails and does not say so")
	table.line(t, sum.line)
}

// failures sum up what came of calls that failed. The numbers are guarded by mu.
type failures struct {
	mu sync.Mutex
	line
}

// all lets one kind of call fail for every n there is, some on one disk each.
func (sum *failures) all(t *testing.T, f *failing, stream uint64) {
	met, ended, misses := 0, 0, 0
	for numbers := range slices.Chunk(failAt(), 40) {
		t.Run(fmt.Sprint("from ", numbers[0]), func(t *testing.T) {
			e := &failing{powered: newPowered(t, stream+uint64(numbers[0]), three()...), op: f.op, file: f.file, forever: f.forever}
			producers := five(e.rig)
			for i := 0; i < len(numbers) && misses < 3; i++ {
				if misses++; e.fail(numbers[i], producers) {
					misses = 0
				}
			}
			v := e.settle(producers[2])
			t.Logf("%d met, %d of them ended the process; %v; %v", e.met, e.ended74, e.loss, v)
			met, ended = met+e.met, ended+e.ended74
			sum.mu.Lock()
			defer sum.mu.Unlock()
			sum.cases, sum.deaths = sum.cases+e.met, sum.deaths+e.died
			sum.add(v)
		})
		if misses == 3 {
			break // there are no more of them in a life
		}
	}
	least := 5
	if *long == 0 {
		least = 1
	}
	if met < 1 || f.op <= powerfs.Sync && ended < least { // some are rare: a life has a rename or two
		t.Errorf("this proves little: %d met, %d ended", met, ended)
	}
}

// failAt is which calls fail: some up to the 64th; when it runs long, all of them and up to the 2,000th.
func failAt() (n []int) {
	switch *long {
	case 0:
		return []int{1, 3, 10}
	case 1:
		return []int{1, 2, 3, 4, 5, 7, 10, 16, 32, 64}
	}
	for i := 1; i <= min(64**long, 2000); i++ {
		n = append(n, i)
	}
	return n
}

// within is when a process has to have ended: a second, and as much again for a machine that runs other tests beside it.
const within = 2 * time.Second

// A failing is a rig of which a kind of call fails.
type failing struct {
	*powered
	op      powerfs.Op
	file    string // of this name only; empty: any
	forever bool
	met     int // lives in which one failed
	ended74 int // of them, that ended as they should

	deadly atomic.Pointer[powerfs.Call] // the first that failed and has to end the process
}

func (e *failing) String() string {
	name := e.op.String()
	if e.file != "" {
		name += " of " + e.file
	}
	if e.forever {
		return name + " for good"
	}
	return name + " once"
}

// fail runs a life in which the n-th call fails, takes the power away, and reports whether there was one.
func (e *failing) fail(n int, producers []func(context.Context)) bool {
	e.Helper()
	e.deadly.Store(nil)
	e.power.Hits()
	e.power.Inject(powerfs.Fault{Op: e.op, Name: e.file, N: n, Forever: e.forever, Err: syscall.EIO, Before: e.look})
	e.launch()
	if !e.process.Await(10 * time.Second) {
		e.Fatalf("it neither starts nor ends:\n%s", e.process.Log())
	}
	if e.process.URL != "" {
		e.during(producers, func() { e.watch(n) })
	}
	hits := e.power.Hits()
	e.conclude(n, hits)
	e.goOn(n, producers)
	return len(hits) > 0
}

// goOn takes the power away: at once, or, in two of three cases, under the next life. That one reads what the cache of a
// disk has after a failed sync, and has to see to it that the disk has it too.
func (e *failing) goOn(n int, producers []func(context.Context)) {
	e.Helper()
	p := []float64{0, .5, 0, 1}[n%4]
	if n%3 == 0 {
		e.off(p)
		return
	}
	e.power.Heal()
	e.process.Kill()
	_, at, err := e.process.Wait(e.Context())
	if err != nil {
		e.Fatal(err)
	}
	e.ended(at)
	e.cut(time.Duration(20+e.rnd.IntN(120))*time.Millisecond, producers, p)
}

// look finds out whether a call that fails is one that has to end the process: of the active segment, of the queues, or
// the rename that makes the next segment.
func (e *failing) look(c powerfs.Call) {
	dir, base := path.Split(c.Path)
	logs := slices.DeleteFunc(e.power.Names(dir), func(name string) bool { return !strings.HasSuffix(name, ".log") })
	active := len(logs) > 0 && base == logs[len(logs)-1]
	next := c.Op == powerfs.Rename && strings.HasSuffix(base, ".log") && (len(logs) == 0 || base > logs[len(logs)-1])
	if (c.Op == powerfs.Write || c.Op == powerfs.Sync) && (active || base == "queues.db") || next {
		e.deadly.CompareAndSwap(nil, &c)
	}
}

// watch waits for the call, and for the end of a process that has to end.
func (e *failing) watch(n int) {
	e.Helper()
	ticks := 20
	if e.met == 0 { // some calls are rare where other tests run beside this: the first is waited for
		ticks = 200
	}
	for tick := 0; e.power.Seen() == 0 && tick < ticks; tick++ {
		e.pass(40 * time.Millisecond)
	}
	if e.power.Seen() == 0 {
		return
	}
	e.pass(60 * time.Millisecond)
	for tick := 0; e.forever && e.deadly.Load() == nil && tick < 8; tick++ {
		e.pass(40 * time.Millisecond) // for one that has to end it
	}
	e.afterwards(n)
	if e.deadly.Load() != nil {
		e.pass(5 * time.Second)
	}
}

// afterwards sends one request that begins after the failure. The process may answer it as it likes if it goes on, but
// a log that has failed takes nothing.
func (e *failing) afterwards(n int) {
	failed := e.deadly.Load()
	p := &producer{rig: e.rig, name: fmt.Sprintf("late%d-%d", e.life, n), batch: 1}
	items := p.next()
	p.put(e.Context(), items)
	e.book.Tell(items...)
	if failed != nil && strings.HasSuffix(failed.Path, ".log") && items[0].Answer >= book.Durable {
		e.Errorf("n %d: acked after %v had failed", n, failed)
	}
}

// conclude looks at how a life with a failure went.
func (e *failing) conclude(n int, hits []powerfs.Call) {
	e.Helper()
	if len(hits) > 0 {
		e.met++
	}
	failed := e.deadly.Load()
	if failed != nil { // it may have come after all that was watched
		e.pass(within)
	}
	select {
	case <-e.process.Ended():
	default:
		if failed != nil {
			e.died++
			e.Errorf("n %d: it goes on after %v had failed:\n%s", n, failed, e.process.Log())
		}
		return
	}
	code, at, err := e.process.Wait(e.Context())
	if e.ended74++; code != 74 || err != nil || len(hits) == 0 {
		e.died++
		e.Errorf("n %d: exit %d after %v had failed, want 74: %v\n%s", n, code, hits, err, e.process.Log())
	}
	if failed != nil && at.Sub(failed.At) > within {
		e.Errorf("n %d: it took %v to end after %v had failed\n%s", n, at.Sub(failed.At), failed, e.process.Log())
	}
}
