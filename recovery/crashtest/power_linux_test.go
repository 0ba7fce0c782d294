//go:build !386 && !arm

package crashtest_test

import (
	"fmt"
	"testing"
	"time"

	"holdfast/recovery/crashtest/powerfs"
)

// Guarantees G2, A1, E1, B1. Guarantee A4, in part: the producer with keys repeats what it was not told. The power goes
// at any time, while the service starts and while it runs; of what was not synced each sector is kept with the
// probability p, and names as far as a journal has them, or each by itself.
func TestPowerCutLosesNothing(t *testing.T) {
	needFuse(t)
	repeats(t)
	cuts := share(20)
	sum, loss := line{fault: "power cut on FUSE, 3 sinks"}, powerfs.Loss{}
	for round := range rounds() {
		for i, p := range []float64{0, .1, .5, .9, 1} {
			t.Run(fmt.Sprintf("p %v of round %d", p, round), func(t *testing.T) {
				r := newPowered(t, 100+uint64(round*10+i), three()...)
				producers := five(r.rig)
				for n := range cuts {
					r.cut(r.length(n), producers, p)
				}
				v := r.settle(producers[2])
				if v.Acked < cuts*10 {
					t.Errorf("this proves little: %d items acked", v.Acked)
				}
				sum.cases, sum.deaths = sum.cases+cuts, sum.deaths+r.died
				sum.add(v)
				loss.Add(r.loss)
				t.Logf("%v; %v", r.loss, v)
			})
		}
	}
	t.Log(loss)
	if *long > 0 && (loss.SectorsKept == 0 || loss.SectorsKept == loss.Sectors) { // in two cuts of each little may be pending
		t.Errorf("this proves little: %v", loss)
	}
	sum.control = lyingDisk(t, "a sync that lies")
	table.line(t, sum)
}

// length is how long the n-th life is to be. Some end while the service starts, some are long enough for marks.
func (r *powered) length(n int) time.Duration {
	switch {
	case n%5 == 4:
		return time.Duration(1+r.rnd.IntN(60)) * time.Millisecond
	case n%10 == 7:
		return 600 * time.Millisecond
	}
	return time.Duration(60+r.rnd.IntN(240)) * time.Millisecond
}

// lyingDisk is the control: the same on a disk that says that the log was synced, and has not.
func lyingDisk(t *testing.T, what string) (says string) {
	says = "not run"
	t.Run("control", func(t *testing.T) {
		r := newPowered(t, 1, three()...)
		r.lies = true
		producers := five(r.rig)
		r.receivers[1].down.Store(true)
		for range 3 {
			r.power.Inject(powerfs.Fault{Op: powerfs.Sync, Name: "*.log", N: 5, Forever: true, Lie: true})
			r.cut(400*time.Millisecond, producers, 0)
		}
		r.receivers[1].down.Store(false)
		says = control(t, what, r.settle(nil))
	})
	return says
}
