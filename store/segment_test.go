package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

var errDisk = errors.New("the disk said no")

func TestRotationThatCrashesAtAnyStepLosesNothing(t *testing.T) {
	t.Parallel()
	steps := map[string]func(*ops){
		"spare not allocated": func(o *ops) { o.allocate = func(*os.File, int64, int64, bool) error { return errDisk } },
		"header not written":  func(o *ops) { o.pwrite = func(*os.File, []byte, int64) (int, error) { return 0, errDisk } },
		"header not synced":   func(o *ops) { o.fdatasync = func(*os.File) error { return errDisk } },
		"not renamed":         func(o *ops) { o.rename = func(string, string, string) error { return errDisk } },
		"directory not synced": func(o *ops) {
			o.syncDir = func(*os.File) error { return errDisk }
		},
		"renamed, no block": func(o *ops) {
			pwrite := o.pwrite
			o.pwrite = func(f *os.File, b []byte, off int64) (int, error) {
				if off > 0 {
					return 0, errDisk
				}
				return pwrite(f, b, off)
			}
		},
	}
	for name, fault := range steps {
		for _, spare := range []bool{true, false} {
			b := newLog(t)
			b.segTail(250)
			if spare {
				if err := b.log.prepare(); err != nil {
					t.Fatal(err)
				}
			}
			b.log.rotateNext()
			fault(&b.log.ops)
			if _, err := b.tryAppend(item(1, maskA)); err == nil && name != "spare not allocated" {
				t.Errorf("%s: no error", name)
			}
			b.reopen(false).rewriteTail().expect()
			b.append(item(2, maskAB))
			b.expect().reopen(false).rewriteTail().expect().reopen(true).expect()
		}
	}
}

func TestRotationWithoutASpareForWantOfDiskIsTriedAgain(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(2)
	disk := b.log.ops
	b.log.ops.allocate = func(*os.File, int64, int64, bool) error { return errors.Join(ErrFull, unix.ENOSPC) }
	b.log.rotateNext()
	if _, err := b.tryAppend(item(1, maskA)); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	b.log.ops = disk
	b.append(item(1, maskA))
	if b.expect(); len(b.paths()) != 2 {
		t.Error(b.paths())
	}
}

func TestLeftOversOfACrashAreRemoved(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(2)
	b.close(true)
	for _, name := range []string{"spare.tmp", "00000001-0000000000000001.log.gone.tmp", "x.keys.tmp"} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte("junk"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.open().expect()
	if entries, _ := os.ReadDir(b.dir); len(entries) != 1 {
		t.Error(entries)
	}
}

// Guarantee B5, in part: what did not fit is not stored, and the log goes on.
func TestFullDiskCutsBackAndLaterAppendsWork(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(2)
	size, disk := b.log.active.size, b.log.ops
	synced := false
	b.log.ops.pwrite = func(f *os.File, p []byte, off int64) (int, error) {
		n, _ := f.WriteAt(p[:len(p)/2], off)
		return n, &os.PathError{Op: "write", Err: syscall.ENOSPC}
	}
	b.log.ops.fdatasync = func(f *os.File) error { synced = true; return disk.fdatasync(f) }
	if _, err := b.tryAppend(item(900, maskA)); !errors.Is(err, ErrFull) || b.log.failure() != nil {
		t.Fatal(err)
	}
	if fi, _ := os.Stat(b.log.active.path); fi.Size() != size || !synced {
		t.Errorf("%d bytes, want %d; cut synced: %v", fi.Size(), size, synced)
	}
	b.log.ops = disk
	b.append(item(1, maskA))
	b.expect().reopen(true).expect()
}

func TestFileSizeLimitIsAFullDisk(t *testing.T) {
	b := newLogOf(t, Options{SegmentBytes: 16 << 20, BlockBytes: 64 << 10})
	b.append(item(3<<20, maskA))
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	limit := old
	limit.Cur = 4<<20 + 100
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	_, err := b.tryAppend(item(3<<20, maskA))
	if serr := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); serr != nil {
		t.Fatal(serr)
	}
	if !errors.Is(err, ErrFull) || b.log.failure() != nil {
		t.Fatal(err)
	}
	b.append(item(3<<20, maskA))
	b.expect().reopen(true).expect()
}

// Guarantee G4, in part: the log's half.
func TestFailedSyncIsFatalForGood(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(2)
	disk := b.log.ops
	b.log.ops.fdatasync = func(*os.File) error { return errDisk }
	_, err := b.tryAppend(item(1, maskA))
	if _, fatal := errors.AsType[*FatalError](err); !fatal || !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	b.log.ops = disk
	if _, again := b.tryAppend(item(1, maskA)); again != err {
		t.Fatal(again)
	}
	if b.expect(); b.log.next() != 3 {
		t.Error("memory changed by what was not durable")
	}
}

func TestFailedCutIsFatal(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(1)
	b.log.ops.pwrite = func(*os.File, []byte, int64) (int, error) { return 0, syscall.ENOSPC }
	b.log.ops.truncate = func(*os.File, int64) error { return errDisk }
	_, err := b.tryAppend(item(1, maskA))
	if _, fatal := errors.AsType[*FatalError](err); !fatal {
		t.Fatal(err)
	}
}

func TestSealedSegmentIsCutAndNeedsNoScan(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segFull().segFull()
	if err := b.log.seal(); err != nil {
		t.Fatal(err)
	}
	before := b.log.views()
	b.reopen(true).expect()
	for i, v := range b.log.views()[:2] {
		fi, err := os.Stat(v.seg.path)
		if err != nil || fi.Size() > v.size+4<<10 || !v.sealed {
			t.Errorf("segment %d: %v, %d bytes, sealed %v", i, err, fi.Size(), v.sealed)
		}
		if w := before[i]; v.end != w.end || v.items != w.items || v.bytes != w.bytes || v.lastTime != w.lastTime {
			t.Errorf("segment %d: %+v, was %+v", i, v.segmentState, w.segmentState)
		}
	}
}

func TestDamagedFooterIsScanned(t *testing.T) {
	t.Parallel()
	for _, at := range []int{1, 8, 9, 13, 30} {
		b := newLog(t)
		b.segFull().segTail(2)
		if err := b.log.seal(); err != nil {
			t.Fatal(err)
		}
		path := b.log.segs[0].path
		b.close(true)
		edit(t, path, func(img []byte) []byte { img[len(img)-at] ^= 0x10; return img })
		b.open().expect()
		if b.log.segs[0].sealed {
			t.Errorf("byte %d from the end: taken for a footer", at)
		}
		if err := b.log.seal(); err != nil {
			t.Fatal(err)
		}
		b.reopen(true).expect()
	}
}

func TestFailingFooterIsNotFatal(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segFull()
	disk := b.log.ops
	b.log.ops.fdatasync = func(*os.File) error { return errDisk }
	if err := b.log.seal(); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	b.log.ops = disk
	b.segTail(1).expect().reopen(false).rewriteTail().expect()
	if err := b.log.seal(); err != nil {
		t.Fatal(err)
	}
	b.expect()
}

func TestDamagedItemIsNamedByFileAndByte(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(2)
	off := b.log.active.size
	b.append(item(100, maskA), item(100, maskA))
	b.segTail(1)
	path := b.log.active.path
	whole, _ := os.ReadFile(path)
	for _, at := range []int64{3, 20, 60, 150, 250} {
		edit(t, path, func([]byte) []byte { img := bytes.Clone(whole); img[off+at] ^= 4; return img })
		items, err := b.tryRead(1, 0)
		d, ok := errors.AsType[*DamageError](err)
		if !ok || d.Path != path || d.Offset < off || d.Offset > off+at || len(items) != 2 {
			t.Errorf("byte %d: %d items, %v", at, len(items), err)
		}
	}
	edit(t, path, func([]byte) []byte { img := bytes.Clone(whole); img[off+250] ^= 4; return img })
	if _, err := b.log.item(3); err != nil {
		t.Error("the item before the damaged one:", err)
	}
	if _, err := b.log.item(4); err == nil {
		t.Error("the damaged item was handed out")
	}
}

func TestUnknownVersionIsRefused(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(1)
	path := b.log.active.path
	b.close(true)
	edit(t, path, func(img []byte) []byte { img[11] = 9; return img })
	f, ok := errors.AsType[*FormatError](b.tryOpen())
	if !ok || f.Found != 9 || f.Know != formatVersion || f.Path != path {
		t.Error(f)
	}
}

func TestSegmentOfAnotherStoreOrNameIsRefused(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(1)
	path := b.log.active.path
	b.close(true)
	if _, err := openLog(b.dir, [16]byte{9}, b.opts, b.known); err == nil {
		t.Error("another uuid was opened")
	}
	if err := os.Rename(path, filepath.Join(b.dir, segmentName(7, 1)+".log")); err != nil {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[*DamageError](b.tryOpen()); !ok {
		t.Error("another name was opened")
	}
}

func TestMissingSegmentThatIsNeededIsDamage(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segFull().segFull().segFull()
	first, end := b.log.segs[1].first, b.log.segs[1].end
	path := b.log.segs[1].path
	b.close(true)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	b.known.OldestNeeded = first
	if _, ok := errors.AsType[*DamageError](b.tryOpen()); !ok {
		t.Error("opened without what is needed")
	}
	b.known.OldestNeeded = end
	b.open()
	if _, err := b.log.item(first); !errors.Is(err, ErrReleased) {
		t.Error(err)
	}
}

func TestReleaseRemovesFilesAndMovesOldest(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segFull().segFull().segTail(2)
	reader := b.log.reader(1, 1)
	if _, err := reader.Next(); err != nil {
		t.Fatal(err)
	}
	if n, err := b.log.release([]uint64{1, 2, 3}); n != 0 || err != nil {
		t.Fatalf("released %d of what is not sealed, %v", n, err)
	}
	if err := b.log.seal(); err != nil {
		t.Fatal(err)
	}
	second := b.log.segs[1].first
	freed, err := b.log.release([]uint64{1})
	if err != nil || freed < 40<<10 {
		t.Fatalf("freed %d, %v", freed, err)
	}
	if len(b.paths()) != 2 || b.log.oldest() != second {
		t.Errorf("%v, oldest %d", b.paths(), b.log.oldest())
	}
	reader.Seek(2)
	if block, err := reader.Next(); err != nil || block.First != second {
		t.Errorf("a reader of the released segment: %v, %v", block, err)
	}
	if _, err := b.log.item(1); !errors.Is(err, ErrReleased) {
		t.Error(err)
	}
	b.known.OldestNeeded = second
	b.items = b.items[second-1:]
	b.reopen(true).expect()
	for _, n := range []uint64{0, b.log.next(), 1 << 60} {
		if _, err := b.log.item(n); !errors.Is(err, ErrNotFound) {
			t.Errorf("seq %d: %v", n, err)
		}
	}
}

func TestReleasedFileWithAnotherNameKeepsItsBytes(t *testing.T) {
	t.Parallel()
	b := newLogOf(t, Options{SegmentBytes: 12 << 20, BlockBytes: 64 << 10})
	b.append(item(5<<20, maskA))
	b.log.rotateNext()
	b.append(item(1, maskA))
	if err := b.log.seal(); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(t.TempDir(), "kept")
	if err := os.Link(b.log.segs[0].path, kept); err != nil {
		t.Fatal(err)
	}
	if _, err := b.log.release([]uint64{1}); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(kept); err != nil || fi.Size() < 5<<20 {
		t.Error(fi, err)
	}
}

func TestItemIsFoundBySeq(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.append(fullItem())
	b.segFull()
	b.append(request(50, 300, maskAB)...)
	for _, want := range b.items {
		got, err := b.log.item(want.Seq)
		if err != nil || string(got.Body) != string(want.Body) || got.Key != want.Key || got.Attrs != want.Attrs || got.Time != want.Time {
			t.Fatalf("%d: %v, %v", want.Seq, got, err)
		}
	}
}

func TestReaderSkipsStretchesWithoutItsQueue(t *testing.T) {
	t.Parallel()
	b := newLogOf(t, Options{SegmentBytes: 1 << 20, BlockBytes: 4 << 10})
	b.append(item(10, maskB))
	for range 20 {
		b.append(request(20, 1000, maskA)...)
	}
	b.append(item(10, maskB))
	r := b.log.reader(2, 1)
	reads := 0
	for {
		block, err := r.Next()
		if err != nil {
			break
		}
		reads += len(block.Items)
	}
	if reads != 2 {
		t.Error(reads)
	}
	if x := b.log.active.index; len(x.entries) < 4 || x.skip(int64(x.entries[1].Off), 2) <= int64(x.entries[2].Off) {
		t.Errorf("nothing was skipped: %+v", x.entries)
	}
	b.expect().reopen(true).expect()
}

// What was kept stands behind the snapshot, where that leaves room for it and where it does not.
func TestHeaderSaysWhatWasKeptWhateverItsLength(t *testing.T) {
	t.Parallel()
	for n := range 2 * headerUnit {
		for _, kept := range [][2]uint64{{}, {5, 6}, {300, 70_000}} {
			h := &segmentHeader{Serial: 2, First: 5, Highest: 70_000, KeptFirst: kept[0], KeptEnd: kept[1]}
			h.Sinks = []Sink{{Name: strings.Repeat("x", n), State: Active}}
			b := encodeHeader(h)
			got, length, err := decodeHeader(append(b, 0xff))
			if err != nil || length != len(b) || got.KeptFirst != kept[0] || got.KeptEnd != kept[1] || len(got.Sinks) != 1 {
				t.Fatalf("a name of %d bytes, kept %v: %+v, %v", n, kept, got, err)
			}
		}
	}
	for _, kept := range [][2]uint64{{4, 6}, {6, 6}, {6, 9}} {
		b := encodeHeader(&segmentHeader{First: 5, Highest: 7, KeptFirst: kept[0], KeptEnd: kept[1]})
		if h, _, err := decodeHeader(b); err == nil {
			t.Errorf("kept %v: %+v", kept, h)
		}
	}
}

func TestHeaderOfANewSegmentRepeatsTheQueues(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.append(item(10, maskAB), item(20, maskA))
	b.snap = snapshot{
		Sinks:       []Sink{{Name: "a", State: Active, Queues: []SinkQueue{{Number: 1, Live: true}, {Number: 2, Match: []byte{}, From: 3, End: 9}}}},
		Queues:      map[uint32]queueSnap{1: {Cursor: 2, LowestOwed: 1}},
		QueueNumber: 12,
	}
	b.log.rotateNext()
	b.append(item(30, maskA))
	f, _ := b.log.active.open()
	h, _, err := readHeader(f, "")
	if err != nil {
		t.Fatal(err)
	}
	if h.Queues[1] != (headerQueue{2, 1, Tally{2, 30}}) || h.Queues[2] != (headerQueue{0, 0, Tally{1, 10}}) || h.QueueNumber != 12 || h.Highest != 2 {
		t.Errorf("%+v", h)
	}
	if s := h.Sinks; len(s) != 1 || s[0].Queues[1].Match == nil || s[0].Queues[0].Match != nil || s[0].Queues[1].End != 9 {
		t.Errorf("%+v", s)
	}
	if b.reopen(true); b.log.accepted[1] != (Tally{3, 60}) || b.log.queueNumber() != 12 {
		t.Error(b.log.accepted)
	}
}

func TestEachStepOfARotationIsDurableBeforeTheNext(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(1)
	var steps []string
	disk := b.log.ops
	b.log.ops.pwrite = func(f *os.File, p []byte, off int64) (int, error) {
		if steps = append(steps, "block"); off == 0 {
			steps[len(steps)-1] = "header"
		}
		return disk.pwrite(f, p, off)
	}
	b.log.ops.fdatasync = func(*os.File) error { steps = append(steps, "sync"); return nil }
	b.log.ops.rename = func(dir, old, new string) error {
		if steps = append(steps, "rename"); b.log.spareMu.TryLock() {
			t.Error("Prepare could make the spare anew while it becomes a segment")
		}
		return disk.rename(dir, old, new)
	}
	b.log.ops.syncDir = func(*os.File) error { steps = append(steps, "sync directory"); return nil }
	b.log.rotateNext()
	b.append(item(1, maskA))
	want := []string{"header", "sync", "rename", "sync directory", "block", "sync"}
	if !slices.Equal(steps, want) {
		t.Errorf("%q", steps)
	}
	steps = nil
	b.append(item(1, maskA))
	if !slices.Equal(steps, []string{"block", "sync"}) {
		t.Errorf("an append is %q", steps)
	}
}

func TestKeysAreDurableBeforeTheFooter(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.keyed(150)
	disk := b.log.ops
	b.log.ops.fdatasync = func(f *os.File) error {
		if strings.HasSuffix(f.Name(), ".tmp") {
			return errDisk
		}
		return nil
	}
	if err := b.log.seal(); !errors.Is(err, errDisk) || b.log.segs[0].sealed {
		t.Fatal(err)
	}
	b.log.ops = disk
	if err := b.log.seal(); err != nil || !b.log.segs[0].sealed {
		t.Fatal(err)
	}
}
