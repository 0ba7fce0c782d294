package crashtest_test

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/recovery/crashtest"
	"holdfast/recovery/crashtest/book"
)

// Guarantee B5, in part: another tenant fills the disk.
func TestDiskFull(t *testing.T) {
	repeats(t)
	sum := line{fault: "disk full of another tenant's files, tmpfs, then kill -9"}
	for n := range share(5) * rounds() {
		for _, minFree := range []string{"0", "8MiB"} {
			t.Run(fmt.Sprintf("min_free %s %d", minFree, n), func(t *testing.T) {
				r := newRig(t, three()...)
				r.tmpfs("64m")
				r.data = fmt.Sprintf("mark_delay: %v, mark_every: %d, max_bytes: 64MiB, min_free: %s", markDelay, markEvery, minFree)
				r.fullDisk(&sum, r.fill)
			})
		}
	}
	table.line(t, sum)
}

// Guarantee B5, in part: the limit of a file's size, which is met inside a write and not when space is allocated.
func TestFilesMayNotGrow(t *testing.T) {
	repeats(t)
	sum := line{fault: "disk full: a limit of a file's size, then kill -9"}
	for n := range share(5) * rounds() {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r := newRig(t, three()...)
			r.data += ", max_bytes: 64MiB"
			r.fullDisk(&sum, func() func() {
				r.limit(3 << 20)
				return func() { r.limit(unix.RLIM_INFINITY) }
			})
		})
	}
	table.line(t, sum)
}

// limit bounds the size of the files that the service writes.
func (r *rig) limit(n uint64) {
	r.Helper()
	if err := unix.Prlimit(r.process.PID(), unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: unix.RLIM_INFINITY}, nil); err != nil {
		r.Fatal(err)
	}
}

// Guarantees B5, G1, in part: a process that is killed on a full disk starts on it, delivers, and accepts when there is
// room.
func TestKilledOnAFullDiskStartsAndDelivers(t *testing.T) {
	r := newRig(t, three()...)
	r.tmpfs("64m")
	r.data += ", max_bytes: 64MiB"
	r.owing()
	free := r.fill()
	r.fillLog()
	for range 3 {
		r.kill()
		r.start()
	}
	r.fillLog() // it is still full
	r.setDown(false)
	r.drain()
	r.wait(r.Context(), bounds.Age*3/2)
	r.kill()
	r.start()
	free()
	r.accepts()
	r.drain()
	if v := r.judge(bounds); v.Repeats > len(r.receivers)*2 {
		r.Errorf("%d items were repeated: their marks were not made on the full disk", v.Repeats)
	}
}

// tmpfs puts the data directory on a small disk of its own.
func (r *rig) tmpfs(size string) {
	r.Helper()
	err := syscall.Mount("tmpfs", r.dir, "tmpfs", 0, "size="+size)
	crashtest.Require(r, "tmpfs", err)
	r.Cleanup(func() { _ = syscall.Unmount(r.dir, syscall.MNT_DETACH) })
}

// owing starts a service that has something to deliver, and nobody to take it.
func (r *rig) owing() {
	r.Helper()
	r.start()
	r.setDown(true)
	for i := range 50 {
		r.one(fmt.Sprint("before", i), book.Durable)
	}
}

// fullDisk fills the disk under a service that has something to deliver, and gives it room again.
func (r *rig) fullDisk(sum *line, fill func() (free func())) {
	r.Helper()
	r.owing()
	free := fill()
	refused := r.fillLog()
	r.Logf("%d more were accepted before the disk was full: %s", refused.before, refused.text)
	r.setDown(false)
	r.drain()                           // deliveries go on
	r.wait(r.Context(), bounds.Age*3/2) // and marks, for longer than a kill may cost
	free()
	r.accepts()
	r.drain()
	r.kill()
	r.start()
	r.drain()
	v := r.judge(bounds)
	if v.Repeats > len(r.receivers)*2 {
		r.Errorf("%d items were repeated: their marks were not made on the full disk", v.Repeats)
	}
	sum.add(v)
	sum.cases, sum.control = sum.cases+1, r.uninvited()
}

// accepts waits until an item is accepted, as it has to be soon after there is room.
func (r *rig) accepts() {
	r.Helper()
	began := time.Now()
	p := &producer{rig: r, name: "room", batch: 1}
	r.until(5*time.Second, "it accepts again", func() error {
		items := p.next()
		p.put(r.Context(), items)
		r.book.Tell(items...)
		if items[0].Answer != book.Durable {
			return errUnexpected
		}
		return nil
	})
	r.Logf("accepting resumed after %v", time.Since(began))
}

func (r *rig) setDown(down bool) {
	for _, k := range r.receivers {
		k.down.Store(down)
	}
}

// fill takes what the disk has left, until free is called.
func (r *rig) fill() (free func()) {
	r.Helper()
	path := filepath.Join(cmp.Or(r.disk, r.dir), "filler")
	f, err := os.Create(path)
	if err != nil {
		r.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 4096)
	for range 1 << 16 {
		if _, err := f.Write(page); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				r.Fatal(err)
			}
			return func() { _ = os.Remove(path) }
		}
	}
	r.Fatal("the disk does not get full")
	return nil
}

type refusal struct {
	before int // accepted before
	text   string
}

// fillLog puts items until one is refused, as a full disk is.
func (r *rig) fillLog() refusal {
	r.Helper()
	big := strings.Repeat("x", 200<<10)
	for i := range 200 {
		tag := fmt.Sprintf("big%d-%d", r.life, i)
		told := book.Told{Tag: tag, Body: tag + big, Request: tag, Life: r.life}
		response, err := r.client.Post(r.process.URL+"/v1/items", "text/plain", strings.NewReader(told.Body))
		if err != nil {
			r.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			r.Fatal(err)
		}
		items := []book.Told{told}
		if err := understand(response.StatusCode, text, items); err != nil {
			r.Fatal(err, string(text))
		}
		r.book.Tell(items...)
		if response.StatusCode == http.StatusServiceUnavailable {
			if !strings.Contains(string(text), `"code":"disk_full"`) || response.Header.Get("Retry-After") == "" {
				r.Errorf("%s, Retry-After %q", text, response.Header.Get("Retry-After"))
			}
			return refusal{i, string(text)}
		}
	}
	r.Fatal("nothing is refused")
	return refusal{}
}
