package recovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"holdfast/store"
)

func newQuarantine(t *testing.T) (q *quarantine, path string) {
	t.Helper()
	s := newStart(t.TempDir(), slog.New(slog.DiscardHandler), 1<<30, new(Report))
	path = filepath.Join(s.dir, "00000001-0000000000000001.log")
	put(t, path, bytes.Repeat([]byte("original "), 4<<10))
	return s.kept, path
}

func put(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Guarantee G6, in part: the active segment may be damaged again after it grew. Each time it is kept as it is then.
func TestAFileThatGrewIsKeptAgain(t *testing.T) {
	q, path := newQuarantine(t)
	var want [][]byte
	for range 3 {
		want = append(want, get(t, path))
		for range 2 { // asked again for the same bytes it does nothing
			if err := q.keep(path, true, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		put(t, path, append(get(t, path), "more"...))
	}
	base := filepath.Base(path)
	kept := names(t, q.place())
	if len(kept) != len(want) || len(names(t, filepath.Dir(q.place()))) != 1 {
		t.Fatal(kept)
	}
	for i, name := range []string{base, base + ".2", base + ".3"} {
		if !bytes.Equal(want[i], get(t, filepath.Join(q.place(), name))) {
			t.Error(name)
		}
	}
}

// A copy that fails leaves nothing behind: no part of a file under its name, and no directory with each start.
func TestACopyThatFailsLeavesNothing(t *testing.T) {
	for _, parts := range [][]int64{nil, {0, 8 << 10}} {
		q, path := newQuarantine(t)
		read := q.read
		q.read = func(f *os.File, b []byte, off int64) (int, error) {
			if off > 0 {
				return 0, syscall.ENOMEM
			}
			return read(f, b[:min(len(b), 4<<10)], off)
		}
		if parts != nil {
			q.bound = 0
		}
		for range 3 {
			if err := q.keep(path, true, parts, 4<<10); !errors.Is(err, syscall.ENOMEM) {
				t.Fatal(err)
			}
		}
		if n := names(t, filepath.Join(q.dir, quarantineName)); len(n) > 0 || q.place() != "" {
			t.Error(n, q.place())
		}
		q.read = read
		if err := q.keep(path, true, parts, 4<<10); err != nil || len(names(t, q.place())) != 1 {
			t.Error(err, names(t, q.place()))
		}
	}
}

// sick makes the disk fail for one page.
func (q *quarantine) sick(bad int64) {
	read := q.read
	q.read = func(f *os.File, b []byte, off int64) (int, error) {
		if off < bad+copyPage && off+int64(len(b)) > bad {
			return 0, &os.PathError{Op: "read", Path: f.Name(), Err: syscall.EIO}
		}
		return read(f, b, off)
	}
}

// Guarantee G6, in part: a page that the disk does not give does not keep the rest from quarantine, nor the store from
// starting. The next start finds what was kept.
func TestAnOriginalWithABadSectorIsKept(t *testing.T) {
	q, path := newQuarantine(t)
	size := int64(len(get(t, path)))
	bad := size - 100 - (size-100)%copyPage // the last one, which is no whole page
	q.sick(bad)
	want := get(t, path)
	clear(want[bad:])
	for range 2 {
		if err := q.keep(path, true, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	if kept := names(t, q.place()); len(kept) != 1 || !bytes.Equal(want, get(t, filepath.Join(q.place(), kept[0]))) {
		t.Error(kept)
	}
}

// sickStart is a start of a store with queues, of which a read fails until it is told otherwise.
func sickStart(t *testing.T) (s *start, sick *int) {
	t.Helper()
	d, err := store.LockDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(store.Create(d, uuid.New()), d.Close()); err != nil {
		t.Fatal(err)
	}
	s, sick = newStart(d.Path(), slog.New(slog.DiscardHandler), 1<<30, new(Report)), new(int)
	s.open = func(d *store.Dir, o store.Options) (*store.Store, error) {
		if *sick > 0 {
			*sick--
			return nil, errors.Join(&os.PathError{Op: "read", Path: s.queuesPath(), Err: syscall.EIO}, d.Close())
		}
		return store.Open(d, o)
	}
	return s, sick
}

func (s *start) run(t *testing.T) {
	t.Helper()
	d, err := store.LockDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.prepare(d); err != nil {
		t.Fatal(err)
	}
	st, err := (&logHealer{start: s}).open(d, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

// Guarantee G6, in part: queues.db that cannot be read is tried again, for a minute; then it is made anew.
func TestQueuesThatCannotBeReadAreTriedAgainAndThenMadeAnew(t *testing.T) {
	for name, c := range map[string]struct {
		metas, opens int
		anew         bool
	}{
		"passing":                   {3, 3, false},
		"the meta pages for good":   {1 << 20, 0, true},
		"another page for good":     {0, 1 << 20, true},
		"both for less than it all": {50, 50, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, opens := sickStart(t)
			*opens = c.opens
			s.checkMetas = func(path string) (store.MetaReport, error) {
				if c.metas > 0 {
					c.metas--
					return store.MetaReport{}, &os.PathError{Op: "read", Path: path, Err: syscall.EIO}
				}
				return store.CheckMetas(path)
			}
			heal := s.open
			s.open = func(d *store.Dir, o store.Options) (*store.Store, error) {
				if s.report.Queues != nil { // the file that was made anew is another one
					*opens = 0
				}
				return heal(d, o)
			}
			began := time.Now()
			s.run(t)
			if took := time.Since(began); (s.report.Queues != nil) != c.anew || took == 0 || c.anew && took < readPatience {
				t.Errorf("%s: %v, %+v", name, took, s.report.Queues)
			}
		})
	}
}

// What is no read of the store's own files is not tried again.
func TestOnlyReadsOfTheStoreAreTriedAgain(t *testing.T) {
	s := newStart("/d", slog.New(slog.DiscardHandler), 0, new(Report))
	for _, c := range []struct {
		op, path string
		err      error
		again    bool
	}{
		{"read", "/d/queues.db", syscall.EIO, true},
		{"read", "/d/log/00000001-0000000000000001.log", syscall.EIO, true},
		{"write", "/d/queues.db", syscall.EIO, false},
		{"read", "/d/queues.db", syscall.ENOMEM, false},
		{"read", "/d/quarantine/x/queues.db", syscall.EIO, false},
	} {
		if got := s.unread(&os.PathError{Op: c.op, Path: c.path, Err: c.err}); got != c.again {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// Guarantee G6, in part: what a rebuild loses is told before the new queues.db knows it: the next start tells it no more.
func TestWhatARebuildLosesIsToldBeforeItIsWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	st, _, err := Open(dir, Options{Store: store.Options{SegmentBytes: 64 << 10}})
	must(t, err)
	sink := store.Sink{Name: "a", State: store.Active, Queues: []store.SinkQueue{{Number: 1, Live: true}}}
	must(t, st.Commit(store.Change{QueueTime: 1, Sinks: []store.Sink{sink}, Queues: []store.QueueChange{{Number: 1, Cursor: 1}}}))
	for range 20 {
		_, err := st.Append([]store.Item{{Seq: st.Next(), Time: 1, Mask: &store.Mask{To: []uint32{1}}, Body: make([]byte, 20<<10)}}, 1, nil)
		must(t, err)
	}
	must(t, st.Commit(store.Change{QueueTime: 2}))
	must(t, st.Close())
	segments, err := filepath.Glob(filepath.Join(dir, "log", "*.log"))
	must(t, err)
	must(t, os.Remove(segments[1]))
	must(t, os.Truncate(filepath.Join(dir, "queues.db"), 100))
	must(t, os.MkdirAll(filepath.Join(dir, "queues.db.tmp", "in the way"), 0o700))
	s := newStart(dir, slog.New(slog.DiscardHandler), 1<<30, new(Report))
	if err := s.healQueues(&store.DamageError{Path: s.queuesPath()}); err == nil {
		t.Fatal("the new queues.db was written")
	}
	var told Report
	must(t, json.Unmarshal(get(t, filepath.Join(s.report.Quarantine, "report.json")), &told))
	if told.Lost+told.Uncertain == 0 && !told.AtLeast {
		t.Errorf("told: %+v", told)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
