package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// noRoom is what a full disk says.
func noRoom(op string) error { return &os.PathError{Op: op, Path: "x", Err: syscall.ENOSPC} }

// Guarantees A1, G2, in part: what nobody was told of does not come to life after a stop in order.
func TestTailOfWhichNothingIsKeptIsCut(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		acked int
		spoil func(img []byte, from, to int64)
	}{
		"the only block of a segment, its header torn": {0, func(img []byte, from, to int64) { clear(img[from : from+20]); clear(img[to-20 : to]) }},
		"the first item torn, the second whole":        {2, func(img []byte, from, to int64) { img[from+300]++ }},
		"the last item torn":                           {2, func(img []byte, from, to int64) { img[to-200]++ }},
		"only its last sector is there":                {2, func(img []byte, from, to int64) { clear(img[from : to-90]) }},
	} {
		b := newLog(t)
		b.segTail(c.acked)
		acked := b.items
		blocks := b.append(request(2, 400, maskA)...)
		g := b.log.active
		from, to := g.size-int64(blocks[0].Size), g.size
		b.close(false)
		edit(t, g.path, func(img []byte) []byte { c.spoil(img, from, to); return img })
		b.items = acked
		b.open()
		if tail := b.log.tail; tail.Kept != 0 {
			t.Fatalf("%s: %+v", name, tail)
		}
		b.rewriteTail().expect()
		b.reopen(true).expect()
		b.append(item(1, maskA))
		b.expect().reopen(false).rewriteTail().expect()
	}
}

// The cut is durable before the store can be closed in order.
func TestCutOfATornTailIsSynced(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.append(item(100, maskA))
	path, start := b.log.active.path, b.log.active.start
	b.close(false)
	edit(t, path, func(img []byte) []byte { clear(img[start : start+60]); return img })
	b.open()
	var steps []string
	disk := b.log.ops
	b.log.ops.truncate = func(f *os.File, n int64) error {
		steps = append(steps, fmt.Sprint("truncate ", n-start))
		return disk.truncate(f, n)
	}
	b.log.ops.fdatasync = func(*os.File) error { steps = append(steps, "sync"); return errDisk }
	_, fatal := errors.AsType[*FatalError](b.log.rewriteTail(b.snap, lendNothing))
	if !fatal || fmt.Sprint(steps) != "[truncate 0 sync]" || !b.log.rewrite {
		t.Errorf("fatal: %v, %q, still due: %v", fatal, steps, b.log.rewrite)
	}
}

// The seqs of what was cut are not given again, even if the process dies before anything else.
func TestSeqsOfACutTailAreNotGivenAgain(t *testing.T) {
	dir := t.TempDir()
	s := openLogStore(t, dir)
	commitTo(t, s, Change{Sinks: []Sink{liveSink("a", 1)}})
	appendTo(t, s, 3)
	g := s.log.active
	path, from := g.path, s.log.segs[len(s.log.segs)-1].size-500
	image := crash(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(image, logDir, filepath.Base(path))
	edit(t, path, func(img []byte) []byte { img[from]++; return img })
	s = openLogStore(t, image)
	again := crash(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openLogStore(t, again)
	defer s.Close()
	if s.Next() != 4 || s.Accepted(1).Items != 2 {
		t.Errorf("next is %d, %d were accepted", s.Next(), s.Accepted(1).Items)
	}
}

// Guarantee G1, in part: a kill on a full disk. The whole group is written over itself and the log goes on behind it.
func TestWholeTailStaysWhereItIsOnAFullDisk(t *testing.T) {
	t.Parallel()
	for _, junk := range []bool{false, true} {
		b := newLog(t)
		b.segTail(3)
		it := fullItem()
		it.Mask = maskAB
		b.append(append(request(70, 100, maskAB), it)...)
		g := b.log.active
		path, to := g.path, g.size
		b.close(false)
		if junk {
			edit(t, path, func(img []byte) []byte { img[to+700] = 7; return img })
		}
		before, _ := os.ReadFile(path)
		b.open()
		from := b.log.segs[0].size
		disk := b.log.ops
		var written [][2]int64
		synced := 0
		b.log.ops.allocate = func(*os.File, int64, int64, bool) error { return noRoom("fallocate") }
		b.log.ops.pwrite = func(f *os.File, p []byte, off int64) (int, error) {
			written = append(written, [2]int64{off, off + int64(len(p))})
			return disk.pwrite(f, p, off)
		}
		b.log.ops.fdatasync = func(*os.File) error { synced = len(written); return nil }
		b.rewriteTail().expect()
		if len(written) != 1 || written[0] != [2]int64{from, to} || synced != 1 {
			t.Errorf("written %v, want [%d, %d); %d synced", written, from, to, synced)
		}
		after, _ := os.ReadFile(path)
		if !bytes.Equal(before[:to], after[:to]) || len(bytes.TrimRight(after[to:], "\x00")) != 0 {
			t.Error("the file is not as it should be")
		}
		if got := b.log.accepted[1]; got != tallyOf(b.items, 1) {
			t.Errorf("accepted %v", got)
		}
		if !junk {
			b.append(item(30, maskA)) // it fits into what was allocated
		}
		b.log.ops = disk
		b.append(item(40, maskA))
		if len(b.paths()) != 1 {
			t.Error(b.paths())
		}
		b.expect().reopen(false).rewriteTail().expect().reopen(true).expect()
		if got := len(collectKeys(b)); got != 1 {
			t.Errorf("%d keys", got)
		}
	}
}

func collectKeys(b *logBench) (keys []Key) {
	for k := range b.log.allKeys {
		keys = append(keys, k)
	}
	return keys
}

// What is durable may differ from what was read before: the bytes that are written are those that checked.
func TestWhatIsWrittenInPlaceIsWhatChecked(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(1)
	b.append(item(500, maskA))
	path, to := b.log.active.path, b.log.active.size
	b.reopen(false)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 300), to-300); err != nil { // the cache has let it go, and the disk never had it
		t.Fatal(err)
	}
	b.log.ops.allocate = func(*os.File, int64, int64, bool) error { return noRoom("fallocate") }
	b.rewriteTail().expect().reopen(false).rewriteTail().expect()
}

func TestFailedWriteInPlaceIsFatal(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(2).reopen(false)
	b.log.ops.allocate = func(*os.File, int64, int64, bool) error { return noRoom("fallocate") }
	b.log.ops.fdatasync = func(*os.File) error { return errDisk }
	if _, fatal := errors.AsType[*FatalError](b.log.rewriteTail(b.snap, lendNothing)); !fatal {
		t.Error("no error")
	}
	b.reopen(false).rewriteTail().expect()
}

// A torn tail needs a new segment. On a full disk it takes the zeros behind it, then what queues.db has ahead.
func TestTornTailFindsRoomOnAFullDisk(t *testing.T) {
	t.Parallel()
	b := newTorn(t)
	img := b.image(func(s int64) bool { return s != b.to/sector-1 })
	want := append(append([]Item(nil), b.acked...), b.survivors(img)...)
	if len(want) == len(b.acked) || len(want) == len(b.acked)+len(b.last) {
		t.Fatal("it proves nothing")
	}
	for _, c := range []struct {
		name       string
		zeros      bool // behind the group
		lent, then int64
	}{
		{"zeros behind it", true, 0, 1},
		{"what is lent", false, 64 << 10, 2},
		{"nothing", false, 0, 0},
	} {
		for _, path := range b.paths() {
			os.Remove(path)
		}
		file := img
		if !c.zeros {
			file = img[:b.to]
		}
		if err := os.WriteFile(b.path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		b.known = logState{OldestNeeded: 1}
		b.open()
		room := int64(0)
		disk := b.log.ops
		b.log.ops.allocate = func(f *os.File, off, n int64, keep bool) error {
			if room -= n; room < 0 {
				room += n
				return noRoom("fallocate")
			}
			return disk.allocate(f, off, n, keep)
		}
		b.log.ops.truncate = func(f *os.File, size int64) error {
			fi, err := f.Stat()
			room += fi.Size() - size
			return errors.Join(err, disk.truncate(f, size))
		}
		err := b.log.rewriteTail(b.snap, func(fn func() error) error { room += c.lent; return fn() })
		if c.then == 0 {
			if !errors.Is(err, ErrFull) || b.log.failure() != nil || !b.log.rewrite {
				t.Errorf("%s: %v", c.name, err)
			}
			b.log.ops = disk
			b.rewriteTail()
		} else if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if diff := diffOf(want, b.read(1, 0)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		fi, _ := os.Stat(b.path)
		if c.lent > 0 && fi.Size() != b.from {
			t.Errorf("%s: what the torn group took was not given back", c.name)
		}
		b.items = want
		b.expect().reopen(false).rewriteTail().expect()
		b.log.close()
	}
}

// A crash after the zeros were cut finds the same tail.
func TestTailWithoutItsZerosIsTheSame(t *testing.T) {
	t.Parallel()
	b := newTorn(t)
	for i := range 12 {
		img := b.image(func(s int64) bool { return (s-b.from/sector)%12 != int64(i) })
		if err := os.WriteFile(b.path, img, 0o600); err != nil {
			t.Fatal(err)
		}
		b.known = logState{OldestNeeded: 1}
		b.open()
		tail, reach := b.log.tail, b.log.torn.reach
		b.log.close()
		if err := os.Truncate(b.path, reach); err != nil {
			t.Fatal(err)
		}
		if b.open(); b.log.tail != tail || b.log.torn.reach != reach {
			t.Errorf("%d: %+v at %d, was %+v at %d", i, b.log.tail, b.log.torn.reach, tail, reach)
		}
		b.log.close()
	}
}

// Guarantee B5, in part: what the producer was told is not stored does not come to life, whatever of it was written.
func TestRefusedGroupIsGoneAfterAKill(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(2)
	disk := b.log.ops
	b.log.ops.pwrite = func(f *os.File, p []byte, off int64) (int, error) {
		n, _ := f.WriteAt(p[:len(p)-1], off)
		return n, noRoom("write")
	}
	if _, err := b.tryAppend(item(100, maskA), item(100, maskA), item(100, maskA)); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	b.log.ops = disk
	b.reopen(false)
	if b.log.tail.Kept != 1 {
		t.Errorf("%+v", b.log.tail)
	}
	b.rewriteTail().expect()
}

// Guarantee B5, in part: a disk that does not answer, or may not be written, is no full disk, and no wait helps.
func TestDeadDiskIsNotCalledFull(t *testing.T) {
	t.Parallel()
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EMFILE, syscall.ENFILE} {
		passes := errno != syscall.EIO && errno != syscall.EROFS
		err := &os.PathError{Op: "call", Path: "x", Err: errno}
		for name, hurt := range map[string]func(o *ops){
			"allocate a segment": func(o *ops) { o.allocate = func(*os.File, int64, int64, bool) error { return err } },
			"write a header":     func(o *ops) { o.pwrite = func(*os.File, []byte, int64) (int, error) { return 0, err } },
			"sync a header":      func(o *ops) { o.fdatasync = func(*os.File) error { return err } },
		} {
			b := newLog(t)
			b.segFull()
			disk := b.log.ops
			hurt(&b.log.ops)
			b.log.rotateNext()
			_, got := b.tryAppend(item(10, maskA))
			_, fatal := errors.AsType[*FatalError](got)
			if fatal == passes || errors.Is(got, ErrFull) != passes || !errors.Is(got, errno) {
				t.Errorf("%s, %v: %v", name, errno, got)
			}
			if b.log.ops = disk; passes {
				b.append(item(10, maskA))
				b.expect()
			}
		}
		b := newLogOf(t, Options{SegmentBytes: 16 << 20, BlockBytes: 64 << 10})
		b.segTail(1)
		b.log.ops.allocate = func(*os.File, int64, int64, bool) error { return err }
		_, got := b.tryAppend(item(6<<20, maskA))
		if _, fatal := errors.AsType[*FatalError](got); fatal == passes || errors.Is(got, ErrFull) != passes {
			t.Errorf("allocate ahead, %v: %v", errno, got)
		}
	}
}

// A rename that finds no room for the name has not happened.
func TestRenameOnAFullDiskIsTriedAgain(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(2)
	disk := b.log.ops
	b.log.ops.rename = func(string, string, string) error { return noRoom("rename") }
	b.log.rotateNext()
	if _, err := b.tryAppend(item(10, maskA)); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	b.log.ops = disk
	b.append(item(10, maskA))
	if b.expect(); len(b.paths()) != 2 {
		t.Error(b.paths())
	}
}

func TestErrorsNameTheSegmentAndNotTheSpare(t *testing.T) {
	t.Parallel()
	b := newLogOf(t, Options{SegmentBytes: 16 << 20, BlockBytes: 64 << 10})
	b.segTail(1)
	path := b.log.active.path
	says := func(size int) {
		t.Helper()
		_, err := b.tryAppend(item(size, maskA))
		p, ok := errors.AsType[*os.PathError](err)
		if !ok || p.Path != path || bytes.Contains([]byte(err.Error()), []byte(spareName)) {
			t.Errorf("%v, want %s", err, path)
		}
	}
	b.log.ops.allocate = func(f *os.File, _, _ int64, _ bool) error {
		return &os.PathError{Op: "fallocate", Path: f.Name(), Err: syscall.ENOSPC}
	}
	says(6 << 20)
	b.log.ops.fdatasync = func(f *os.File) error {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: syscall.EIO}
	}
	says(1)
}
