package recovery_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
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
			b.edit(path, func(c []byte) []byte {
				binary.BigEndian.PutUint32(c[8:], 7)
				sum := c[binary.BigEndian.Uint32(c[12:])-4:] // it is whole: a wrong number alone is damage
				binary.BigEndian.PutUint32(sum, checksum(c[:len(c)-len(sum)]))
				return c
			})
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
func TestDamagedQueuesAreKeptOnce(t *testing.T) {
	for name, cut := range map[string]int{"whole": 0, "half a copy": 1} {
		b := newBench(t)
		b.append(1, 2)
		image := b.killed()
		path := image.path("queues.db")
		image.edit(path, func(content []byte) []byte {
			pages, newest := metaPages(t, path, content)
			pages[1-newest][40]++
			return content
		})
		spoiled := image.file(path)
		earlier := image.path("quarantine/20200101T000000.000000000Z")
		if err := os.MkdirAll(earlier, 0o700); err != nil {
			t.Fatal(err)
		}
		image.put("quarantine/20200101T000000.000000000Z/queues.db", string(spoiled[cut:]))
		r := image.open()
		if (r.Quarantine == earlier) != (cut == 0) || !bytes.Equal(spoiled, image.file(filepath.Join(r.Quarantine, "queues.db"))) {
			t.Errorf("%s: %+v", name, r)
		}
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

// Guarantee G6, in part.
func TestQueuesWithoutAValidMetaPageAreMadeAnew(t *testing.T) {
	b := newBench(t)
	b.append(1, 2)
	b.commit(store.Change{QueueTime: 9, Queues: []store.QueueChange{{Number: b.queue, Cursor: 2}}})
	b.close()
	path := b.path("queues.db")
	b.edit(path, func(content []byte) []byte {
		pages, _ := metaPages(t, path, content)
		pages[0][40]++
		pages[1][40]++
		return content
	})
	spoiled := b.file(path)
	out, r, err := logged(b.dir)
	if err != nil || r.Queues == nil || r.Queues.Repeated != 0 || r.Lost != 0 {
		t.Fatalf("%+v, %+v, %v", r, r.Queues, err)
	}
	if !bytes.Equal(spoiled, b.file(filepath.Join(r.Quarantine, "queues.db"))) {
		t.Error("what is in quarantine is not the original")
	}
	if !strings.Contains(out.String(), `"level":"ERROR","msg":"the queues were damaged and are made anew`) {
		t.Error(out)
	}
	var report recovery.Report
	if err := json.Unmarshal(b.file(filepath.Join(r.Quarantine, "report.json")), &report); err != nil || !cmp.Equal(report, r) {
		t.Errorf("report.json: %v, %s", err, cmp.Diff(report, r))
	}
	b.open()
	if state, err := b.st.LoadQueue(b.queue); err != nil || state.Cursor != 2 {
		t.Errorf("%+v, %v", state, err)
	}
}

// Guarantee G6, in part: without queues.db the newest segment tells of sinks and cursors.
func TestMissingQueuesAreMadeOfTheLog(t *testing.T) {
	for _, stop := range []string{"clean", "killed"} {
		b := newBench(t)
		b.append(1, 3)
		image := b.killed()
		if stop == "clean" {
			b.close()
			image = b
		}
		uuid := b.st.UUID()
		if err := os.Remove(image.path("queues.db")); err != nil {
			t.Fatal(err)
		}
		r := image.open()
		if r.Queues == nil || r.Queues.Repeated != 4 || r.Lost != 0 || !r.AtLeast || r.Uncertain > 0 || !cmp.Equal(r.Queues.Rewound, []string{"a"}) || image.st.UUID() != uuid {
			t.Errorf("%s: %+v, %+v", stop, r, r.Queues)
		}
		if diff := cmp.Diff(b.bodies(4), image.read()); diff != "" {
			t.Errorf("%s: %s", stop, diff)
		}
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
