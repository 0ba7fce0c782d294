package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// halfDone is a store with a cursor, a row, a body and acks, of which both meta pages of queues.db are damaged.
func halfDone(t *testing.T) string {
	t.Helper()
	dir := newQueuesDir(t)
	d, err := LockDir(dir)
	equal(t, "error", err, nil)
	s, err := Open(d, Options{SegmentBytes: 64 << 10, BlockBytes: 4 << 10})
	equal(t, "error", err, nil)
	mustStore(t, s, Change{QueueTime: 1, Sinks: []Sink{liveSink("a", 1)}})
	mustAppend(t, s, 9)
	it, err := s.Item(0, 2)
	equal(t, "error", err, nil)
	mustStore(t, s, Change{QueueTime: 2, Bodies: []Body{{Item: it}}, Acks: halfDoneAcks(), Queues: []QueueChange{{Number: 1, Cursor: 4, Marks: []uint64{7},
		Counts: Counts{Settled: Tally{3, 1500}}, Rows: []Row{{Seq: 2, State: RowReady, Owes: true, Bytes: 500}}}}})
	equal(t, "error", s.Close(), nil)
	path := filepath.Join(dir, queuesName)
	content, err := os.ReadFile(path)
	equal(t, "error", err, nil)
	page := os.Getpagesize()
	content[40]++
	content[page+40]++
	equal(t, "error", os.WriteFile(path, content, 0o600), nil)
	return dir
}

func halfDoneAcks() []Ack { return []Ack{{1, 1700000000009}, {3, 0}} }

// A rebuild that is interrupted leaves the old file, byte for byte, or the new one; and it can be done again.
func TestInterruptedRebuildLeavesTheOldFileOrTheNewOne(t *testing.T) {
	old := halfDone(t)
	before, err := os.ReadFile(filepath.Join(old, queuesName))
	equal(t, "error", err, nil)
	for n := 0; ; n++ {
		dir := filepath.Join(t.TempDir(), "image")
		equal(t, "error", os.CopyFS(dir, os.DirFS(old)), nil)
		r, err := PlanRebuild(dir, testUUID, false)
		equal(t, "error", err, nil)
		steps := r.steps()
		if n > len(steps) {
			break
		}
		for _, step := range steps[:n] {
			equal(t, "error", step(), nil)
		}
		equal(t, "error", r.Close(), nil)
		now, err := os.ReadFile(filepath.Join(dir, queuesName))
		equal(t, "error", err, nil)
		if bytes.Equal(now, before) {
			r, err := PlanRebuild(dir, testUUID, false)
			equal(t, "error", err, nil)
			equal(t, "error", errors.Join(r.Write(), r.Close()), nil)
		} else if n < len(steps)-1 {
			t.Errorf("after %d steps the old file has changed", n)
		}
		checkHalfDone(t, dir)
	}
}

func checkHalfDone(t *testing.T, dir string) {
	t.Helper()
	d, err := LockDir(dir)
	equal(t, "error", err, nil)
	s, err := Open(d, Options{SegmentBytes: 64 << 10, BlockBytes: 4 << 10})
	equal(t, "error", err, nil)
	defer s.Close()
	state, err := s.LoadQueue(1)
	equal(t, "error", err, nil)
	equal(t, "queue", state, QueueState{Number: 1, Cursor: 4, Marks: []uint64{7}, Counts: Counts{Settled: Tally{3, 1500}}})
	row, found, err := s.Row(1, 2)
	equal(t, "error", err, nil)
	equal(t, "row", found && row.State == RowReady, true)
	it, found, err := s.queues.body(1, 2)
	equal(t, "error", err, nil)
	equal(t, "body", found && len(it.Body) == 500, true)
	acks, err := s.Acks(0, 9)
	equal(t, "error", err, nil)
	equal(t, "acks", acks, halfDoneAcks())
}

// What a producer sent may look like a page: the inside of a value is not carved.
func TestBodyThatLooksLikeAPageIsNotCarved(t *testing.T) {
	dir := newQueuesDir(t)
	d, err := LockDir(dir)
	equal(t, "error", err, nil)
	s, err := Open(d, Options{})
	equal(t, "error", err, nil)
	mustStore(t, s, Change{QueueTime: 1, Sinks: []Sink{liveSink("a", 1)}})
	mustAppend(t, s, 3)
	it, err := s.Item(0, 1)
	equal(t, "error", err, nil)
	it.Body = bytes.Repeat([]byte("z"), 8*os.Getpagesize())
	mustStore(t, s, Change{QueueTime: 2, Bodies: []Body{{Item: it}}, Queues: []QueueChange{{Number: 1, Cursor: 1, Marks: []uint64{1},
		Rows: []Row{{Seq: 1, State: RowReady, Owes: true, Bytes: int64(len(it.Body))}}}}})
	equal(t, "error", s.Close(), nil)
	path := filepath.Join(dir, queuesName)
	found, _, err := carve(path, []uint32{1})
	equal(t, "error", err, nil)
	forgeBody(t, path, found.bodies[bodyPlace{1, 0}].v)
	found, _, err = carve(path, []uint32{1})
	equal(t, "error", err, nil)
	equal(t, "body", found.bodies[bodyPlace{1, 0}].rank, linked)
	equal(t, "cursor", found.queues[1].cursor.v, uint64(1))
}

// forgeBody lets a body that spans pages have pages in it, each where it says that it is.
func forgeBody(t *testing.T, path string, ref bodyRef) {
	t.Helper()
	content, err := os.ReadFile(path)
	equal(t, "error", err, nil)
	page := int64(os.Getpagesize())
	for id := ref.at/page + 1; (id+1)*page < ref.at+ref.size-4; id++ {
		copy(content[id*page:], forgedPage(uint64(id)))
	}
	value := content[ref.at : ref.at+ref.size]
	payload := value[:len(value)-4]
	binary.BigEndian.PutUint32(value[len(payload):], valueSum(0, bodyKey(0, 1), payload))
	equal(t, "error", os.WriteFile(path, content, 0o600), nil)
}

// forgedPage begins a leaf page with a cursor that checks.
func forgedPage(id uint64) []byte {
	key := []byte{kindCursor}
	value := sealValue(1, key, binary.BigEndian.AppendUint64(nil, 1<<30))
	order := binary.NativeEndian
	b := order.AppendUint64(nil, id)
	b = order.AppendUint32(order.AppendUint16(order.AppendUint16(b, pageLeaf), 1), 0)
	for _, n := range []uint32{0, pageElement, uint32(len(key)), uint32(len(value))} {
		b = order.AppendUint32(b, n)
	}
	return append(append(b, key...), value...)
}

// FuzzCarve looks through any bytes for queues: it ends, reads no more than there is, and what it finds checks.
func FuzzCarve(f *testing.F) {
	path := filepath.Join(f.TempDir(), "queues.db")
	equal(f, "error", createQueues(path, testUUID), nil)
	whole, err := os.ReadFile(path)
	equal(f, "error", err, nil)
	f.Add(whole)
	f.Add(bytes.Repeat(append(forgedPage(2), make([]byte, 4096-64)...), 4))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<17 {
			return
		}
		path := filepath.Join(t.TempDir(), queuesName)
		equal(t, "error", os.WriteFile(path, b, 0o600), nil)
		found, _, err := carve(path, []uint32{1})
		if err != nil {
			t.Fatal(err)
		}
		for id, body := range found.bodies {
			if _, err := readBody(bytes.NewReader(b), id, body.v); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Whose store it is must not be guessed: a rebuild with segments of two stores, or with one that is not where it belongs,
// is refused before anything is written.
func TestRebuildAmongSegmentsOfAnotherStoreIsRefusedUntouched(t *testing.T) {
	foreign := func(t *testing.T, dir, name string) { // a segment of another store
		h := &segmentHeader{UUID: [16]byte{99}, Serial: 900, First: 5000, Highest: 4999, Queues: map[uint32]headerQueue{}}
		path := filepath.Join(dir, logDir, name+".log")
		equal(t, "error", os.WriteFile(path, encodeHeader(h), 0o600), nil)
	}
	rename := func(t *testing.T, dir string) {
		paths, err := filepath.Glob(filepath.Join(dir, logDir, "*.log"))
		equal(t, "error", err, nil)
		equal(t, "error", os.Rename(paths[0], filepath.Join(dir, logDir, segmentName(700, 1)+".log")), nil)
	}
	missing := func(t *testing.T, dir string) { equal(t, "error", os.Remove(filepath.Join(dir, queuesName)), nil) }
	for name, change := range map[string]func(t *testing.T, dir string){
		"a foreign segment, and no queues.db": func(t *testing.T, dir string) { missing(t, dir); foreign(t, dir, segmentName(900, 5000)) },
		"a foreign segment":                   func(t *testing.T, dir string) { foreign(t, dir, segmentName(900, 5000)) },
		"the queues.db of another store": func(t *testing.T, dir string) {
			equal(t, "error", createQueues(filepath.Join(dir, "other"), [16]byte{99}), nil)
			equal(t, "error", os.Rename(filepath.Join(dir, "other"), filepath.Join(dir, queuesName)), nil)
		},
		"a segment by another name":                   rename,
		"a segment by another name, and no queues.db": func(t *testing.T, dir string) { missing(t, dir); rename(t, dir) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := halfDone(t)
			change(t, dir)
			before := bytesOf(t, dir)
			r, err := PlanRebuild(dir, testUUID, false)
			if d, damage := errors.AsType[*DamageError](err); !damage || filepath.Dir(d.Path) != filepath.Join(dir, logDir) {
				t.Errorf("%v, %v", r, err)
			}
			equal(t, "files", bytesOf(t, dir), before)
		})
	}
}

// bytesOf reads all files of a directory.
func bytesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	equal(t, "error", filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	}), nil)
	return all
}

// Guarantee G6, in part: whichever page of queues.db is damaged, an item that was evacuated and of which the body is left is
// still owed to each queue that it was for: to one of an orphan, and to a frozen one, whose number is in no mask.
func TestARebuildKeepsWhatWasEvacuatedForEveryQueue(t *testing.T) {
	const items, from, end = 300, 50, 250
	dir := newQueuesDir(t)
	q := openTestQueues(t, dir)
	sinks := []Sink{
		{Name: "left", State: Orphan, Queues: []SinkQueue{{Number: 1, Live: true}}},
		{Name: "replay", State: Active, Queues: []SinkQueue{{Number: 2, Match: []byte("m"), From: from, End: end}, {Number: 3, Live: true}}},
	}
	c := Change{QueueTime: 5, WallTime: 7, Sinks: sinks, Queues: []QueueChange{{Number: 1, Cursor: items + 1}, {Number: 2, Cursor: end}, {Number: 3, Cursor: items + 1}}}
	for seq := uint64(1); seq <= items; seq++ {
		row := Row{Seq: seq, State: RowReady, Owes: true, Bytes: 40}
		c.Bodies = append(c.Bodies, Body{Item: Item{Seq: seq, Time: 1, Mask: &Mask{To: []uint32{1}}, Body: bytes.Repeat([]byte("b"), 40)}})
		if c.Queues[0].Rows = append(c.Queues[0].Rows, row); from <= seq && seq < end {
			c.Queues[1].Rows = append(c.Queues[1].Rows, row)
		}
	}
	_, err := q.commit(&c, logView{next: items + 1, oldest: items + 1, synced: items + 1})
	equal(t, "error", err, nil)
	equal(t, "error", q.close(), nil)
	whole, err := os.ReadFile(filepath.Join(dir, queuesName))
	equal(t, "error", err, nil)
	hurt := map[uint32]int{}
	for page := 2 * os.Getpagesize(); page < len(whole); page += os.Getpagesize() {
		broken := bytes.Clone(whole)
		broken[page+100] ^= 0x55
		image := t.TempDir()
		equal(t, "error", os.Mkdir(filepath.Join(image, logDir), 0o700), nil)
		equal(t, "error", os.WriteFile(filepath.Join(image, queuesName), broken, 0o600), nil)
		r, err := PlanRebuild(image, testUUID, false)
		equal(t, "error", err, nil)
		for number, n := range r.queues {
			if !n.whole {
				hurt[number]++
			}
		}
		for seq := uint64(1); seq <= items; seq++ {
			if r.found.bodies[bodyPlace{seq, 0}].rank == 0 {
				continue
			}
			for number, wanted := range map[uint32]bool{1: true, 2: from <= seq && seq < end} {
				if _, found := r.queues[number].rows[seq]; found != wanted {
					t.Fatalf("page %d: queue %d has a row of seq %d: %t", page/os.Getpagesize(), number, seq, found)
				}
			}
		}
		equal(t, "error", r.Close(), nil)
	}
	if hurt[1] < 3 || hurt[2] < 3 {
		t.Errorf("pages that cost a queue something: %v", hurt)
	}
}
