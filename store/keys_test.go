package store

import (
	"bytes"
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
	if err := b.log.dropKeys(want[0].Time+1, 1000); err != nil {
		t.Fatal(err)
	}
	check("nothing old enough to drop")
	first := b.log.oldKeys[0].newest
	if err := b.log.dropKeys(first+1, 1000); err != nil {
		t.Fatal(err)
	}
	want = slices.DeleteFunc(want, func(k Key) bool { return k.Time <= first })
	check("dropped")
	b.close(true)
	edit(t, path, func(img []byte) []byte { img[100]++; return img })
	oldest := b.open().log.oldest()
	want = slices.DeleteFunc(want, func(k Key) bool { return k.Seq < oldest })
	check("a damaged file, its segment gone")
	st := &Store{log: b.log}
	if n := st.SkippedKeys(); n != 1 {
		t.Errorf("%d files are skipped", n)
	}
	if err := b.log.dropKeys(0, 1000); err != nil || st.SkippedKeys() != 0 {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// Files of keys that were cut short, or are no such file, are skipped; what is no file at all is nobody's.
func TestWhatIsNoFileOfKeysDoesNotStopTheOpen(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(2)
	b.close(true)
	whole := encodeKeys(logUUID, 9, 5, make([]Key, 3000))
	for i, content := range [][]byte{{}, []byte("holdkeys"), whole[:len(whole)-1], whole[:50], append(whole[:60:60], whole[61:]...), append(bytes.Clone(whole), 0)} {
		if err := os.WriteFile(filepath.Join(b.dir, segmentName(uint64(90+i), 1)+".keys"), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"dir.keys", "dir.keys.tmp", "dir.log.gone.tmp"} {
		if err := os.MkdirAll(filepath.Join(b.dir, name, "below"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	b.open().expect()
	if n := (&Store{log: b.log}).SkippedKeys(); n != 6 {
		t.Errorf("%d are skipped", n)
	}
	b.close(true)
	edit(t, filepath.Join(b.dir, segmentName(90, 1)+".keys"), func([]byte) []byte {
		img := bytes.Clone(whole)
		img[11] = 7
		return img
	})
	if f, ok := errors.AsType[*FormatError](b.tryOpen()); !ok || f.Found != 7 {
		t.Error(f)
	}
}

// keyedSegments makes n segments with keys, and releases all but the newest.
func (b *logBench) keyedSegments(n int) (keys []Key) {
	b.t.Helper()
	for len(b.log.segs) <= n {
		keys = append(keys, b.keyed(1)...)
	}
	if err := b.log.seal(); err != nil {
		b.t.Fatal(err)
	}
	var serials []uint64
	for serial := range uint64(n) {
		serials = append(serials, serial+1)
	}
	if _, err := b.log.release(serials); err != nil {
		b.t.Fatal(err)
	}
	return keys
}

func TestKeysBeyondTheNewestAreDropped(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	keys := b.keyedSegments(4)
	files := slices.Clone(b.log.oldKeys)
	active := b.log.segs[0].keys
	for _, c := range []struct {
		keep int64
		left int
	}{
		{int64(len(keys)), 4},
		{active + files[3].count + files[2].count + 1, 4 - 1},
		{active + files[3].count + files[2].count, 2},
		{active + 1, 1},
		{active, 0},
	} {
		if err := b.log.dropKeys(0, int(c.keep)); err != nil || len(b.log.oldKeys) != c.left {
			t.Errorf("keep %d: %d files are left, want %d: %v", c.keep, len(b.log.oldKeys), c.left, err)
		}
		got := slices.Collect(b.log.allKeys)
		if newest := keys[len(keys)-int(c.keep):]; len(got) < len(newest) || !slices.Equal(newest, got[len(got)-len(newest):]) {
			t.Errorf("keep %d: %d keys are left, and not the newest", c.keep, len(got))
		}
	}
	for range b.log.allKeys {
		break // whoever has enough may stop
	}
}

// Keys are part of what the log takes, beside a segment and without it.
func TestKeysCountAsUsedDisk(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.keyedSegments(2)
	for range 2 {
		want := int64(0)
		for _, pattern := range []string{"*.log", "*.keys"} {
			paths, err := filepath.Glob(filepath.Join(b.dir, pattern))
			if err != nil || len(paths) == 0 {
				t.Fatal(pattern, err)
			}
			for _, path := range paths {
				fi, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				want += fi.Size()
			}
		}
		if got, _, _ := b.log.usage(); got != want {
			t.Errorf("%d bytes, want %d", got, want)
		}
		b.known.OldestNeeded = b.log.oldest()
		for n := len(b.log.segs); len(b.log.segs) == n; {
			b.keyed(1)
		}
		if err := b.log.seal(); err != nil { // now a segment has its keys beside it
			t.Fatal(err)
		}
		b.reopen(true)
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

// Guarantees A4, G6, in part: a damaged .keys is made again from its segment, and one whose segment has no keys is removed.
func TestDamagedFilesOfKeysAreMadeAgain(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.keyed(300)
	if err := b.log.seal(); err != nil {
		t.Fatal(err)
	}
	path := b.log.segs[0].keysPath()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for what, harm := range map[string]func() error{
		"a flipped bit": func() error {
			return os.WriteFile(path, append(bytes.Clone(whole[:len(whole)-1]), whole[len(whole)-1]^1), 0o600)
		},
		"cut short": func() error { return os.WriteFile(path, whole[:20], 0o600) },
		"gone":      func() error { return os.Remove(path) },
	} {
		b.close(true)
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		b.open()
		for range 2 {
			if err := (&Store{log: b.log}).HealKeys(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, whole) {
			t.Errorf("%s: it is not as it was: %v", what, err)
		}
	}
}

// Likewise where no item of the segment has a key.
func TestADamagedFileOfNoKeysIsRemoved(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(2)
	if err := b.log.seal(); err != nil {
		t.Fatal(err)
	}
	path := b.log.segs[0].keysPath()
	b.close(true)
	if err := os.WriteFile(path, []byte("holdkeys"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.open()
	if err := (&Store{log: b.log}).HealKeys(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
