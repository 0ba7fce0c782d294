package recovery_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"holdfast/recovery"
	"holdfast/store"
)

// Guarantee G5, in part: another format is refused with both numbers named, and every byte stays as it was.
func TestUnknownFormatIsRefusedUntouched(t *testing.T) {
	for name, spoil := range map[string]func(b *bench) string{
		"queues.db": func(b *bench) string { return b.setFormat(7) },
		"segment": func(b *bench) string {
			path := b.segment()
			b.edit(path, func(c []byte) []byte { binary.BigEndian.PutUint32(c[8:], 7); return c })
			return path
		},
	} {
		for _, stop := range []string{"clean", "killed"} {
			t.Run(name+" "+stop, func(t *testing.T) {
				b := newBench(t)
				b.append(1, 2)
				image := b.killed()
				if stop == "clean" {
					b.close()
					image = b
				}
				path := spoil(image)
				image.put("log/spare.tmp", "theirs") // of a newer program, which may mean something else by it
				before := sums(t, image.dir)
				_, _, err := recovery.Open(image.dir, small)
				if f, ok := errors.AsType[*store.FormatError](err); !ok || f.Path != path || f.Found != 7 || f.Know != 1 {
					t.Errorf("%v", err)
				}
				if diff := cmp.Diff(before, sums(t, image.dir)); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func (b *bench) put(name, content string) {
	b.Helper()
	if err := os.WriteFile(b.path(name), []byte(content), 0o600); err != nil {
		b.Fatal(err)
	}
}

// setFormat writes another number of the format to queues.db, with a checksum that holds: FORMAT.md, "Values".
func (b *bench) setFormat(n uint32) string {
	b.Helper()
	path := b.path("queues.db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType})
	if err != nil {
		b.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		payload := binary.BigEndian.AppendUint32(nil, n)
		sum := checksum(binary.BigEndian.AppendUint32(nil, 0), []byte("format"), payload)
		return tx.Bucket([]byte("meta")).Put([]byte("format"), binary.BigEndian.AppendUint32(payload, sum))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		b.Fatal(err)
	}
	return path
}

// A metaCase is what a disk made of the two meta pages.
type metaCase struct {
	name  string
	spoil func(pages [2][]byte, newest int)
}

// Guarantee G6, in part: a silent rollback to an older meta page of queues.db is detected; the original is kept.
func TestMetaPagesThatNoCrashLeavesAreToldAndOvercome(t *testing.T) {
	for _, c := range []metaCase{
		{"the newest is damaged", func(p [2][]byte, newest int) { p[newest][40]++ }},
		{"the older one is damaged", func(p [2][]byte, newest int) { p[1-newest][40]++ }},
		{"two commits apart", func(p [2][]byte, newest int) { setTxID(p[1-newest], -1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.append(1, 2)
			b.commit(store.Change{QueueTime: 9, Queues: []store.QueueChange{{Number: b.queue, Cursor: 2}}})
			image := b.killed()
			image.edit(image.path("queues.db"), func(content []byte) []byte {
				c.spoil(metaPages(t, image.path("queues.db"), content))
				return content
			})
			spoiled := image.file(image.path("queues.db"))
			out, r, err := logged(image.dir)
			if err != nil {
				t.Fatal(err)
			}
			if !r.RolledBack || r.Kept != 3 || !strings.HasPrefix(r.Quarantine, image.path("quarantine")+"/") {
				t.Errorf("%+v", r)
			}
			if !bytes.Equal(spoiled, image.file(filepath.Join(r.Quarantine, "queues.db"))) {
				t.Error("what is in quarantine is not the original")
			}
			if !strings.Contains(out.String(), `"level":"ERROR","msg":"store recovered with losses"`) || !strings.Contains(out.String(), r.Quarantine) {
				t.Error(out)
			}
			if r := image.open(); r.RolledBack || r.Quarantine != "" || r.Unclean {
				t.Errorf("the next start: %+v", r)
			}
			if diff := cmp.Diff(image.bodies(3), image.read()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A start that dies before it changes anything is followed by one that finds its copy.
func TestDamagedMetaPageIsCopiedOnce(t *testing.T) {
	b := newBench(t)
	b.append(1, 2)
	image := b.killed()
	path := image.path("queues.db")
	image.edit(path, func(content []byte) []byte {
		pages, newest := metaPages(t, path, content)
		pages[1-newest][40]++
		return content
	})
	image.edit(image.segment(), func(content []byte) []byte { content[40]++; return content }) // it is refused after that
	first := ""
	for range 3 {
		_, r, err := recovery.Open(image.dir, small)
		if err == nil || r.Quarantine == "" || first != "" && r.Quarantine != first {
			t.Fatalf("%+v, %v", r, err)
		}
		first = r.Quarantine
	}
	image.edit(filepath.Join(first, "queues.db"), func(content []byte) []byte { return content[:len(content)-1] })
	if _, r, _ := recovery.Open(image.dir, small); r.Quarantine == first {
		t.Error("half a copy was taken for one")
	}
}

// Guarantee G5, in part: with a damaged meta page too, another format is refused before anything is written.
func TestUnknownFormatWithADamagedMetaPageIsRefusedUntouched(t *testing.T) {
	b := newBench(t)
	b.append(1)
	b.close()
	path := b.setFormat(7)
	b.edit(path, func(content []byte) []byte {
		pages, newest := metaPages(t, path, content)
		pages[1-newest][40]++
		return content
	})
	before := sums(t, b.dir)
	_, _, err := recovery.Open(b.dir, small)
	if f, ok := errors.AsType[*store.FormatError](err); !ok || f.Found != 7 {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff(before, sums(t, b.dir)); diff != "" {
		t.Error(diff)
	}
}

// Files of keys are a cache: without their segment damaged ones are told and skipped.
func TestDamagedKeysAreToldAndSkipped(t *testing.T) {
	b := newBench(t)
	b.append(1)
	b.close()
	b.put("log/00000009-0000000000000009.keys", "holdkeys, or not")
	out, r, err := logged(b.dir)
	if err != nil || r.SkippedKeys != 1 || !strings.Contains(out.String(), `"level":"WARN"`) {
		t.Errorf("%+v, %v, %s", r, err, out)
	}
}

func TestBothMetaPagesDamagedAreRefusedUntouched(t *testing.T) {
	b := newBench(t)
	b.append(1)
	b.close()
	path := b.path("queues.db")
	b.edit(path, func(content []byte) []byte {
		pages, _ := metaPages(t, path, content)
		pages[0][40]++
		pages[1][40]++
		return content
	})
	before := sums(t, b.dir)
	_, _, err := recovery.Open(b.dir, small)
	if d, ok := errors.AsType[*store.DamageError](err); !ok || d.Path != path {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff(before, sums(t, b.dir)); diff != "" {
		t.Error(diff)
	}
}

func TestMissingQueuesAreNamed(t *testing.T) {
	b := newBench(t)
	b.append(1)
	b.close()
	if err := os.Remove(b.path("queues.db")); err != nil {
		t.Fatal(err)
	}
	before := sums(t, b.dir)
	_, _, err := recovery.Open(b.dir, small)
	if d, ok := errors.AsType[*store.DamageError](err); !ok || d.Path != b.path("queues.db") {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff(before, sums(t, b.dir)); diff != "" {
		t.Error(diff)
	}
}

// What the start writes to the meta pages is what they hold.
func TestMetaPagesAreWrittenBackAsTheyAre(t *testing.T) {
	b := newBench(t)
	b.append(1)
	image := b.killed()
	path := image.path("queues.db")
	before := image.file(path)
	if err := store.RewriteMetas(path); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, image.file(path)) {
		t.Error("the file has changed")
	}
	image.open()
	if !bytes.Equal(before, image.file(path)) {
		t.Error("the file has changed by a start that did nothing else")
	}
}

// metaPages returns the meta parts of both pages of a queues.db that is in order, and which one is the newest.
func metaPages(t *testing.T, path string, content []byte) (pages [2][]byte, newest int) {
	t.Helper()
	m, err := store.CheckMetas(path)
	if err != nil || !m.OK() {
		t.Fatal(m, err)
	}
	for i := range pages {
		pages[i] = content[i*m.PageSize+16:][:64]
	}
	if m.TxID[1] > m.TxID[0] {
		newest = 1
	}
	return pages, newest
}

// setTxID changes the number of a meta's commit, with a checksum that holds.
func setTxID(meta []byte, by int) {
	order := binary.NativeEndian
	order.PutUint64(meta[48:], order.Uint64(meta[48:])+uint64(by))
	h := fnv.New64a()
	_, _ = h.Write(meta[:56])
	order.PutUint64(meta[56:], h.Sum64())
}
