//go:build !386 && !arm

package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"holdfast/recovery/crashtest"
	"holdfast/recovery/crashtest/powerfs"
)

// Guarantee G2. The same as on the disk itself, with a real file system in between: ext4 on a loop device on a file of
// the disk. What the power leaves of its journal it has to mount.
func TestPowerCutUnderExt4LosesNothing(t *testing.T) {
	needFuse(t)
	repeats(t)
	cuts := share(10)
	sum, loss := line{fault: "power cut on ext4 on loop on FUSE"}, powerfs.Loss{}
	for round := range rounds() {
		t.Run(fmt.Sprintf("round %d", round), func(t *testing.T) {
			r := newLooped(t, 200+uint64(round))
			producers := five(r.rig)
			for n := range cuts {
				r.cut(r.length(n), producers, []float64{.5, .9, .1, 0, 1}[n%5])
			}
			v := r.settle(producers[2])
			sum.cases, sum.deaths = sum.cases+cuts, sum.deaths+r.died
			sum.add(v)
			loss.Add(r.loss)
			r.sound()
			t.Logf("%v; %v", r.loss, v)
		})
	}
	t.Log(loss)
	if *long > 1 && (loss.SectorsKept == 0 || loss.SectorsKept == loss.Sectors) { // in ten cuts little may be pending below ext4
		t.Errorf("this proves little: %v", loss)
	}
	sum.control = lyingLoop(t)
	table.line(t, sum)
}

// lyingLoop is the control: flushes of the loop device do nothing.
func lyingLoop(t *testing.T) (says string) {
	says = "not run"
	t.Run("control", func(t *testing.T) {
		r := newLooped(t, 2)
		producers := five(r.rig)
		r.cut(300*time.Millisecond, producers, 1) // a store is there
		r.receivers[1].down.Store(true)
		r.lies = true
		for range 3 {
			r.power.Inject(powerfs.Fault{Op: powerfs.Sync, Forever: true, Lie: true})
			r.cut(700*time.Millisecond, producers, 0)
		}
		r.receivers[1].down.Store(false)
		says = control(t, "flushes that lie", r.settle(nil))
	})
	return says
}

// An ext4 is one on a loop device on an image.
type ext4 struct {
	image, point string
	mounted      bool
}

// newLooped is a rig whose data directory is in an ext4, on a file of a disk of its own.
func newLooped(t testing.TB, stream uint64) *powered {
	t.Helper()
	r := newPowered(t, stream, three()...)
	r.onExt4("96M", filepath.Join(r.dir, "ext4"))
	r.disk = r.above.point
	return r
}

// onExt4 makes an ext4 of that size on a file of the disk, and mounts it at a directory.
func (r *powered) onExt4(size, point string) {
	r.Helper()
	_, err := exec.LookPath("mkfs.ext4")
	if _, lerr := os.Stat("/dev/loop-control"); err == nil {
		err = lerr
	}
	crashtest.Require(r, "loop", err)
	e := &ext4{image: filepath.Join(r.disk, "image"), point: point}
	system(r, "truncate", "-s", size, e.image)
	system(r, "mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", e.image)
	system(r, "sync", e.image, r.disk)
	if err := os.Mkdir(point, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		r.Fatal(err)
	}
	if out, err := e.tryMount(); err != nil {
		crashtest.Require(r, "loop", fmt.Errorf("%w: %s", err, out))
	}
	r.above = e
	r.Cleanup(func() {
		if r.process != nil {
			r.process.Signal(syscall.SIGKILL)
		}
		r.power.On()
		if r.process != nil {
			r.process.Kill()
		}
		e.unmount(r)
	})
}

func (e *ext4) tryMount() ([]byte, error) {
	out, err := exec.Command("mount", "-t", "ext4", "-o", "loop,noatime", e.image, e.point).CombinedOutput()
	e.mounted = err == nil
	return out, err
}

// mount has to succeed: after whatever the power left.
func (e *ext4) mount(r *powered) {
	r.Helper()
	if out, err := e.tryMount(); err != nil {
		r.Fatalf("ext4 does not mount after a cut: %v: %s", err, out)
	}
}

func (e *ext4) unmount(r *powered) {
	r.Helper()
	if e.mounted {
		e.mounted = false
		system(r, "umount", e.point)
	}
}

// sound ends the life that goes on, and has ext4's own check look at the image.
func (r *powered) sound() {
	r.Helper()
	r.off(.5)
	r.above.unmount(r) // in order, after it was mounted once more
	system(r, "e2fsck", "-f", "-n", r.above.image)
}

// system runs a program of the system.
func system(t testing.TB, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // t's own is over in a Cleanup
	defer cancel()
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}
