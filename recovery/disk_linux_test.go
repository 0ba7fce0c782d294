package recovery_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"holdfast/recovery"
	"holdfast/recovery/crashtest"
	"holdfast/store"
)

// smallDisk mounts a small file system of its own for the test.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	mount := t.TempDir()
	crashtest.Require(t, "tmpfs", syscall.Mount("tmpfs", mount, "tmpfs", 0, "size="+size))
	t.Cleanup(func() { _ = syscall.Unmount(mount, syscall.MNT_DETACH) })
	return mount
}

// Guarantee G5, in part: a directory that cannot be written is refused, and as it was after.
func TestReadOnlyDirectoryIsRefused(t *testing.T) {
	mount := smallDisk(t, "16m")
	b := newBench(t)
	b.append(2, 1)
	image := b.killed()
	if err := os.CopyFS(filepath.Join(mount, "data"), os.DirFS(image.dir)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", mount, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	before := sums(t, mount)
	for _, dir := range []string{"data", "empty"} {
		_, _, err := recovery.Open(filepath.Join(mount, dir), small)
		if !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if diff := cmp.Diff(before, sums(t, mount)); diff != "" {
		t.Error(diff)
	}
}

// onDisk copies what a kill left to a small disk of its own, and fills that.
func (b *bench) onDisk(left int64) (image *bench, free func()) {
	b.Helper()
	mount := smallDisk(b.TB.(*testing.T), "24m")
	image = &bench{TB: b.TB, dir: filepath.Join(mount, "data"), queue: b.queue, items: b.items}
	if err := os.CopyFS(image.dir, os.DirFS(b.dir)); err != nil {
		b.Fatal(err)
	}
	if b.ahead > 0 {
		allocate(b.TB.(*testing.T), image.path("queues.db"), b.ahead) // as a running service has it
	}
	filler := filepath.Join(mount, "filler")
	fill(b.TB.(*testing.T), filler, left)
	return image, func() {
		if err := os.Remove(filler); err != nil {
			b.Fatal(err)
		}
	}
}

// A start that cannot make the tail durable leaves the store as one that was not stopped in order.
func TestStartThatFailsOverTheTailIsRepeated(t *testing.T) {
	b, from, to := torn(t)
	b.edit(b.segment(), func(content []byte) []byte { clear(content[from+512 : to]); return content[:to] })
	image, free := b.onDisk(0)
	_, _, err := recovery.Open(image.dir, small)
	if !errors.Is(err, store.ErrFull) {
		t.Fatalf("%v: the test proves nothing", err)
	}
	free()
	if r := image.open(); !r.Unclean || r.Kept != 1 || r.Unconfirmed != 3 {
		t.Errorf("%+v", r)
	}
	if diff := cmp.Diff(image.bodies(3), image.read()); diff != "" {
		t.Error(diff)
	}
	image.close()
}

// Guarantees B5, G1, in part: a full disk is no reason not to start. What was kept is delivered and marked; once there is
// room it accepts again.
func TestKilledStoreStartsOnAFullDisk(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(content []byte, from, to int) []byte
		ahead int64 // of queues.db
		left  int64
		kept  int
	}{
		{"the tail is whole", func(c []byte, _, _ int) []byte { return c }, 8 << 20, 0, 4},
		{"the tail is whole, and nothing is ahead of it", func(c []byte, _, to int) []byte { return c[:to] }, 8 << 20, 0, 4},
		{"a torn tail takes the zeros behind it", func(c []byte, from, to int) []byte { clear(c[from+512 : to]); return c }, 0, 0, 1},
		{"a torn tail takes what queues.db has ahead", func(c []byte, from, to int) []byte { clear(c[from+512 : to]); return c[:to] }, 8 << 20, 0, 1},
		{"a torn tail needs no more than it is long", func(c []byte, from, to int) []byte { clear(c[from+512 : to]); return c[:to] }, 0, 64 << 10, 1},
		{"nothing is kept of the tail", func(c []byte, from, to int) []byte { clear(c[from+100 : to]); return c }, 8 << 20, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, from, to := torn(t)
			b.edit(b.segment(), func(content []byte) []byte { return c.spoil(content, from, to) })
			b.ahead = c.ahead
			image, free := b.onDisk(c.left)
			r := image.open()
			if !r.Unclean || r.Kept != c.kept {
				t.Errorf("%+v", r)
			}
			want := image.bodies(2 + c.kept)
			if diff := cmp.Diff(want, image.read()); diff != "" {
				t.Error(diff)
			}
			if c.ahead > 0 {
				for i := range uint64(200) {
					image.commit(store.Change{QueueTime: int64(i) + 2, Queues: []store.QueueChange{{Number: b.queue, Cursor: 1, Marks: []uint64{2 + i%2}}}})
				}
			}
			next := image.st.Next()
			free()
			image.append(1)
			image.close()
			if r := image.open(); r.Unclean || image.st.Next() != next+1 {
				t.Errorf("the next start: %+v", r)
			}
			want = append(want, string(image.items[len(image.items)-1].Body))
			if diff := cmp.Diff(want, image.read()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// allocate gives a file room beyond its size.
func allocate(t *testing.T, path string, n int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, n); err != nil {
		t.Fatal(err)
	}
}

// fill leaves the disk so many bytes.
func fill(t *testing.T, path string, left int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 4096)
	for range 1 << 16 {
		if _, err := f.Write(page); err != nil {
			size, _ := f.Seek(0, io.SeekEnd)
			if err := f.Truncate(size - left); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("the disk does not get full")
}

// Guarantee G6, in part: where quarantine has no room for the original, and it cannot have a name there, the damaged pages
// are kept.
func TestFullQuarantineKeepsTheDamagedPages(t *testing.T) {
	l, content := lived(t, 20)
	clear(content[:2*pageBytes])
	content[3*pageBytes]++
	dir := l.damaged(content)
	to := filepath.Join(dir, "quarantine")
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	crashtest.Require(t, "tmpfs", syscall.Mount("tmpfs", to, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { _ = syscall.Unmount(to, syscall.MNT_DETACH) })
	if len(content) <= 64<<10 {
		t.Fatalf("%d bytes: the test proves nothing", len(content))
	}
	o := small
	var out bytes.Buffer
	o.Log = slog.New(slog.NewJSONHandler(&out, nil))
	st, r, err := recovery.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	kept, err := os.ReadFile(filepath.Join(r.Quarantine, "queues.db"))
	if err != nil || len(kept) != len(content) || !bytes.Equal(kept[:2*pageBytes], content[:2*pageBytes]) || !bytes.Contains(out.Bytes(), []byte(`"level":"WARN"`)) {
		t.Errorf("%v, %d bytes; %s", err, len(kept), &out)
	}
}
