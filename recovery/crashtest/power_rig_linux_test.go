//go:build !386 && !arm

package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"os"

	"holdfast/recovery/crashtest"
	"holdfast/recovery/crashtest/book"
	"holdfast/recovery/crashtest/killer"
	"holdfast/recovery/crashtest/powerfs"
)

// A powered is a rig of which the power can go.
type powered struct {
	*rig
	power *powerfs.Disk
	loss  powerfs.Loss // of all cuts
	rnd   *rand.Rand
	above *ext4 // what stands on a file of the disk, with the data directory in it; nil: nothing
	lies  bool  // the disk does not keep its word: what is lost is for the caller to judge
	died  int   // processes that ended and should not have
}

// newPowered is a rig whose data directory is on a disk of its own. Segments are small: they come and go in a short life.
func newPowered(t testing.TB, stream uint64, receivers ...*receiver) *powered {
	t.Helper()
	r := &powered{rig: newRig(t, receivers...), power: powerfs.New(*seed), rnd: rand.New(rand.NewPCG(*seed, stream))}
	r.data += ", max_bytes: 16MiB"
	r.disk = filepath.Join(r.dir, "disk")
	if err := os.Mkdir(r.disk, 0o700); err != nil {
		t.Fatal(err)
	}
	unmount, err := powerfs.Mount(r.power, r.disk)
	crashtest.Require(t, "fuse", err)
	t.Cleanup(func() {
		if r.process != nil {
			r.process.Signal(syscall.SIGKILL)
		}
		r.power.On()
		if r.process != nil {
			r.process.Kill()
		}
		if err := unmount(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// needFuse skips where there is no FUSE.
func needFuse(t testing.TB) {
	t.Helper()
	unmount, err := powerfs.Mount(powerfs.New(0), t.TempDir())
	crashtest.Require(t, "fuse", err)
	if err := unmount(); err != nil {
		t.Fatal(err)
	}
}

// five are the producers of the suites with a disk: those of the main test, and one whose items fill segments.
func five(r *rig) []func(context.Context) {
	joiner := &producer{rig: r, name: "joiner", join: true, batch: 1, pace: 3 * time.Millisecond}
	batches := &producer{rig: r, name: "batches", batch: 5, pace: 20 * time.Millisecond}
	keyed := &producer{rig: r, name: "keyed", keys: true, batch: 1, pace: 7 * time.Millisecond}
	streams := &producer{rig: r, name: "streams", batch: 1, pace: 5 * time.Millisecond}
	large := &producer{rig: r, name: "large", batch: 1, pad: 30 << 10, pace: 6 * time.Millisecond}
	return []func(context.Context){joiner.post, batches.post, keyed.post, streams.stream, large.post}
}

// launch begins a life, and does not wait for it.
func (r *powered) launch() {
	r.Helper()
	r.process = killer.Launch(r, program, "serve", "--config", r.config())
}

// off takes the power away at this moment, and gives it back when the process is gone.
func (r *powered) off(p float64) {
	r.Helper()
	r.power.Freeze()
	r.ended(r.goes(p))
}

// goes is off on a disk that is frozen already. It returns when it was: ended is for when the producers have stopped.
func (r *powered) goes(p float64) (at time.Time) {
	at = time.Now()
	r.process.Signal(syscall.SIGKILL)
	r.loss.Add(r.power.Cut(r.rnd.Uint64(), p))
	r.process.Kill()
	if r.above != nil {
		r.above.unmount(r) // what it still writes goes to the disk that was thrown away
	}
	r.power.On()
	if r.above != nil {
		r.above.mount(r)
	}
	return at
}

// ended is end, and looks at what the service had to say.
func (r *powered) ended(at time.Time) {
	r.Helper()
	r.end(at)
	r.sober(r.life - 1)
}

// sober looks at what the service had to say: on a disk that keeps its word there is nothing that it has to report.
func (r *powered) sober(life int) {
	r.Helper()
	if log := r.process.Log(); !r.lies && !strings.Contains(log, syscall.EIO.Error()) && strings.Contains(log, `"level":"ERROR"`) {
		r.Errorf("life %d says that something is lost:\n%s", life, log)
	}
}

// during runs producers against a life that has begun, from the moment that it listens, until until returns.
func (r *powered) during(producers []func(context.Context), until func()) {
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	var all sync.WaitGroup
	for _, produce := range producers {
		all.Go(func() { produce(ctx) })
	}
	until()
	stop()
	all.Wait()
}

// cut runs a life of that length, and takes the power away: perhaps while it starts.
func (r *powered) cut(d time.Duration, producers []func(context.Context), p float64) {
	r.Helper()
	r.launch()
	began := time.Now()
	if !r.process.Await(d) || r.process.URL == "" {
		r.lives()
		r.off(p)
		return
	}
	var at time.Time
	r.during(producers, func() {
		r.pass(d - time.Since(began))
		r.lives()
		r.busy()
		r.power.Freeze()
		at = r.goes(p)
	})
	r.ended(at)
}

// busy freezes the disk at the next moment, in two of three cases, at which something was written and is about to be
// synced, or named. There are few of them by chance.
func (r *powered) busy() {
	op := []powerfs.Op{powerfs.Sync, powerfs.Sync, powerfs.SyncDir}[r.rnd.IntN(3)]
	if r.rnd.IntN(3) == 0 {
		return
	}
	met := make(chan struct{})
	r.power.Inject(powerfs.Fault{Op: op, N: 1 + r.rnd.IntN(3), Before: func(powerfs.Call) {
		r.power.Freeze()
		close(met)
	}})
	timer := time.NewTimer(50 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-met:
	case <-timer.C:
	case <-r.process.Ended():
	}
}

// pass lets time pass, for as long as the process lives.
func (r *powered) pass(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.process.Ended():
	}
}

// lives counts a process that has ended by itself.
func (r *powered) lives() {
	r.Helper()
	select {
	case <-r.process.Ended():
		if r.lies {
			return
		}
		r.died++
		r.Errorf("life %d ended by itself:\n%s", r.life, r.process.Log())
	default:
	}
}

// settle starts the service for the last time, lets the producers with keys be told, waits until all is delivered, and
// judges.
func (r *powered) settle(keyed func(context.Context)) *book.Verdict {
	r.Helper()
	if r.lies {
		return r.hear()
	}
	r.start()
	if keyed != nil {
		r.finish(keyed)
	}
	r.drain()
	r.sober(r.life)
	return r.judge(loose)
}

// loose are bounds for a disk that is a process on a machine with other tests: how long mark_delay is worth, and how much is
// delivered while one commit of marks takes its time, is for the tests on a real one. Half a second of a busy machine is
// some thousand deliveries.
var loose = book.Bounds{Repeats: inFlight + 16*markEvery, Age: 10 * time.Second}

// hear is settle after a disk that lied: whatever the service makes of it. It has to start, as whatever it had is lost
// where it does not, and the control would be red for that.
func (r *powered) hear() *book.Verdict {
	r.Helper()
	r.start()
	r.calm()
	return book.Check(r.book.Record(), loose)
}

// calm waits until nothing has arrived for two seconds: what was lied about may never come.
func (r *powered) calm() {
	r.Helper()
	got, since := -1, time.Now()
	r.until(60*time.Second, "nothing arrives", func() error {
		if n := len(r.book.Record().Got); n != got {
			got, since = n, time.Now()
		}
		if time.Since(since) < 2*time.Second {
			return errors.New("something arrives still")
		}
		return nil
	})
}

// control says that a suite's control failed as it must, or fails the test.
func control(t testing.TB, what string, v *book.Verdict) string {
	t.Helper()
	if v.Lost == 0 {
		t.Errorf("the control does not lose: %s: %v", what, v)
		return ""
	}
	return fmt.Sprintf("%s: red, %d deliveries lost", what, v.Lost)
}
