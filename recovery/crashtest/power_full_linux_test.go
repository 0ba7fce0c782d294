//go:build !386 && !arm

package crashtest_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/recovery/crashtest/book"
	"holdfast/recovery/crashtest/powerfs"
)

// Guarantees B5, G2, in part: the disk is full, of others, and then the power goes. It starts on the full disk, delivers
// and marks, and accepts when there is room. On the disk itself, and on ext4.
func TestPowerCutOnAFullDiskLosesNothing(t *testing.T) {
	needFuse(t)
	repeats(t)
	sum := line{fault: "disk full on FUSE and on ext4, then a power cut"}
	for n := range share(4) * rounds() {
		for _, on := range []string{"disk", "ext4"} {
			t.Run(fmt.Sprint(on, n), func(t *testing.T) {
				r := newPowered(t, 600+uint64(n), three()...)
				fill := r.shrink
				if on == "ext4" {
					r.onExt4("48M", filepath.Join(r.dir, "ext4"))
					r.disk = r.above.point
					fill = r.fill
				}
				r.data = fmt.Sprintf("mark_delay: %v, mark_every: %d, max_bytes: 64MiB, min_free: 0", markDelay, markEvery)
				v := r.fullThenCut(fill, []float64{0, .5, 1, .1}[n%4])
				sum.cases, sum.deaths = sum.cases+1, sum.deaths+r.died
				sum.add(v)
			})
		}
	}
	sum.control = lyingDisk(t, "a sync that lies")
	table.line(t, sum)
}

// shrink leaves a little on the disk, until free is called.
func (r *powered) shrink() (free func()) {
	r.power.Limit(int64(r.rnd.IntN(1 << 20)))
	return func() { r.power.Limit(-1) }
}

func (r *powered) fullThenCut(fill func() func(), p float64) *book.Verdict {
	r.Helper()
	r.owing()
	free := fill()
	r.fillLog()
	r.off(p)
	r.start()
	r.fillLog() // what the cut gave back
	r.setDown(false)
	r.drain()
	r.off(p)
	r.start()
	free()
	r.accepts()
	return r.settleLife()
}

// settleLife is settle in the life that goes on.
func (r *powered) settleLife() *book.Verdict {
	r.Helper()
	r.drain()
	r.sober(r.life)
	return r.judge(loose)
}

// Guarantee G4, in part: want of space that comes from a sync is a failed sync.
func TestFullDiskThatIsToldByASyncEndsTheProcess(t *testing.T) {
	needFuse(t)
	for _, file := range []string{"*.log", "queues.db"} {
		t.Run(strings.TrimPrefix(file, "*."), func(t *testing.T) {
			r := newPowered(t, 700, three()...)
			r.start()
			r.one("before", book.Durable)
			r.power.Inject(powerfs.Fault{Op: powerfs.Sync, Name: file, Err: syscall.ENOSPC})
			p := &producer{rig: r.rig, name: "at", batch: 1}
			items := p.next()
			p.put(t.Context(), items)
			r.book.Tell(items...)
			if file == "*.log" && items[0].Answer != book.Uncertain {
				t.Errorf("answer %d, want %d", items[0].Answer, book.Uncertain)
			}
			code, at, err := r.process.Wait(t.Context())
			if err != nil || code != 74 {
				t.Errorf("exit %d, want 74: %v\n%s", code, err, r.process.Log())
			}
			if hits := r.power.Hits(); len(hits) == 0 || at.Sub(hits[0].At) > within {
				t.Errorf("ended at %v, after %v", at.Format(time.StampMilli), hits)
			}
			r.power.Freeze()
			r.lies = true // it says that it failed
			r.ended(r.goes(0))
			r.lies = false
			r.settle(nil)
		})
	}
}
