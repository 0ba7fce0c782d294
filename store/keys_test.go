package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func (b *logBench) keyed(n int) []Key {
	var keys []Key
	for range n {
		it := item(500, maskA)
		seq := b.log.next()
		it.Dedupe = &Dedupe{Key: [16]byte{byte(seq), byte(seq >> 8)}, Body: [16]byte{1}}
		b.append(it)
		last := b.items[len(b.items)-1]
		keys = append(keys, Key{*last.Dedupe, last.Seq, last.Time})
	}
	return keys
}

// Guarantee A4, in part: keys outlive a restart and their segment.
func TestKeysComeBackFromFilesAndFromUnsealedSegments(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	want := b.keyed(300)
	check := func(when string) {
		t.Helper()
		if diff := cmp.Diff(want, slices.Collect(b.log.allKeys)); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", when, diff)
		}
	}
	check("unsealed")
	if err := b.log.seal(); err != nil {
		t.Fatal(err)
	}
	check("sealed")
	b.reopen(false).rewriteTail()
	check("after an unclean stop")
	if _, err := b.log.release([]uint64{1}); err != nil {
		t.Fatal(err)
	}
	check("one released")
	b.known.OldestNeeded = b.log.oldest()
	b.reopen(true)
	check("one released, opened again")
	path := filepath.Join(b.dir, segmentName(2, b.log.segs[0].first)+".keys")
	edit(t, path, func(img []byte) []byte { img[100]++; return img })
	b.reopen(true)
	check("a damaged file, its segment there")
	if _, err := b.log.release([]uint64{2}); err != nil {
		t.Fatal(err)
	}
	check("made again for the release")
	b.known.OldestNeeded = b.log.oldest()
	if err := b.log.dropKeys(want[0].Time + 1); err != nil {
		t.Fatal(err)
	}
	check("nothing old enough to drop")
	first := b.log.oldKeys[0].newest
	if err := b.log.dropKeys(first + 1); err != nil {
		t.Fatal(err)
	}
	want = slices.DeleteFunc(want, func(k Key) bool { return k.Time <= first })
	check("dropped")
	b.close(true)
	edit(t, path, func(img []byte) []byte { img[100]++; return img })
	if _, damaged := errors.AsType[*DamageError](b.tryOpen()); !damaged {
		t.Error("damaged keys without a segment were opened")
	}
}

func TestSegmentIsNotReleasedBeforeItsKeysAreOnDisk(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.keyed(200)
	disk := b.log.ops
	if err := b.log.seal(); err != nil {
		t.Fatal(err)
	}
	b.close(true)
	if err := os.Remove(b.paths()[0][:len(b.paths()[0])-4] + ".keys"); err != nil {
		t.Fatal(err)
	}
	b.open()
	b.log.ops.fdatasync = func(*os.File) error { return errDisk }
	if n, err := b.log.release([]uint64{1}); n != 0 || err == nil {
		t.Fatalf("released %d, %v", n, err)
	}
	b.log.ops = disk
	if n, err := b.log.release([]uint64{1}); n == 0 || err != nil {
		t.Fatalf("released %d, %v", n, err)
	}
}
