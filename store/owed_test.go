package store

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

var (
	sparseMask = &Mask{To: []uint32{1, 2}}
	denseMask  = &Mask{To: []uint32{1}}
)

// sparseStore has a queue 1 that gets everything, and a queue 2 that gets one item in twenty.
func sparseStore(t testing.TB) *Store {
	s := openStore(t, newQueuesDir(t))
	mustStore(t, s, Change{Sinks: []Sink{liveSink("all", 1), liveSink("alarms", 2)}})
	for range 60 {
		appendSparse(t, s)
	}
	equal(t, "error", s.Seal(), nil)
	return s
}

func appendSparse(t testing.TB, s *Store) {
	t.Helper()
	items := make([]Item, 10)
	for i := range items {
		items[i] = Item{Seq: s.Next() + uint64(i), Time: int64(s.Next()), Mask: denseMask, Body: make([]byte, 500)}
		if items[i].Seq%20 == 0 {
			items[i].Mask, items[i].Body = sparseMask, fmt.Appendf(nil, "alarm %d", items[i].Seq)
		}
	}
	_, err := s.Append(items, 1, nil)
	equal(t, "error", err, nil)
}

func owedOf(t testing.TB, s *Store, serial uint64) []OwedItem {
	t.Helper()
	var out []OwedItem
	for it, err := range s.Owed(serial) {
		equal(t, "error", err, nil)
		out = append(out, it)
	}
	return out
}

// evacuation is what the queue package commits to get what queue 2 is owed out of a segment, its cursor being where it
// was: rows in state ready, bodies, and marks beside those that it has.
func evacuation(t testing.TB, s *Store, serial uint64, cursor uint64, marks []uint64) (Change, []uint64) {
	t.Helper()
	c := Change{Queues: []QueueChange{{Number: 2, Cursor: cursor}}}
	for _, it := range owedOf(t, s, serial) {
		equal(t, "owed to", it.Stream, []uint32{2})
		equal(t, "rows", it.Rows, []uint32(nil))
		c.Bodies = append(c.Bodies, Body{Item: it.Item})
		c.Queues[0].Rows = append(c.Queues[0].Rows, Row{Seq: it.Item.Seq, State: RowReady, Owes: true, Bytes: int64(len(it.Item.Body))})
		marks = append(marks, it.Item.Seq)
	}
	slices.Sort(marks)
	c.Queues[0].Marks = marks
	return c, marks
}

// A sink that is down, and is owed little, pins no segment: not the one that its cursor is in, and none behind it.
// Guarantee B6, in part: what the store has to do.
func TestWhatASparseDeadSinkIsOwedLeavesItsSegments(t *testing.T) {
	s := sparseStore(t)
	mustStore(t, s, Change{Queues: []QueueChange{{Number: 1, Cursor: s.Next()}}})
	segments := s.Segments()
	equal(t, "free before", s.Free(), []uint64(nil))
	var marks []uint64
	var images []string
	for _, g := range segments[1 : len(segments)-1] { // all but the first, in which the cursor stays, and the active one
		if g.Owes.Items < 2 || g.Owes.Items > 8 || g.Owes.Bytes > 100 {
			t.Fatalf("bound of segment %d: %+v", g.Serial, g.Owes)
		}
		var c Change
		c, marks = evacuation(t, s, g.Serial, 1, marks)
		equal(t, "bound and what is owed", g.Owes.Items, int64(len(c.Bodies)))
		images = append(images, crash(t, s))
		mustStore(t, s, c)
		images = append(images, crash(t, s))
		equal(t, "owed afterwards", len(owedOf(t, s, g.Serial)), 0)
		equal(t, "free", s.Free(), []uint64{g.Serial})
		mustStore(t, s, Change{})
		_, err := s.Release([]uint64{g.Serial})
		equal(t, "error", err, nil)
		images = append(images, crash(t, s))
	}
	equal(t, "segments", len(s.Segments()), 2)
	for _, dir := range images {
		expectAlarms(t, dir)
	}
}

// expectAlarms opens an image, and finds each alarm in the stream or as a ready row, once and whole.
func expectAlarms(t *testing.T, dir string) {
	t.Helper()
	s := openStore(t, dir)
	defer s.Close()
	equal(t, "error", s.RewriteTail(), nil)
	state, err := s.LoadQueue(2)
	equal(t, "error", err, nil)
	got := map[uint64]string{}
	rows, err := s.ReadyRows(2, 0, 1000)
	equal(t, "error", err, nil)
	for _, r := range rows {
		it, err := s.Item(2, r.Seq)
		equal(t, "error", err, nil)
		equal(t, "owes", r.Owes, true)
		got[r.Seq] = string(it.Body)
	}
	for r := s.Reader(2, state.Cursor); ; {
		b, err := r.Next()
		if err != nil {
			break
		}
		for _, it := range b.Items {
			if it.Mask.Has(2) && !slices.Contains(state.Marks, it.Seq) {
				if got[it.Seq] != "" {
					t.Fatalf("alarm %d is there twice", it.Seq)
				}
				got[it.Seq] = string(it.Body)
			}
		}
	}
	for seq := uint64(20); seq <= 600; seq += 20 {
		equal(t, "alarm", got[seq], fmt.Sprintf("alarm %d", seq))
	}
	equal(t, "alarms", len(got), 30)
}

// A segment that went although a cursor is not past it is no damage; one that just is not there is.
func TestOnlyAReleasedSegmentMayBeMissing(t *testing.T) {
	s := sparseStore(t)
	mustStore(t, s, Change{Queues: []QueueChange{{Number: 1, Cursor: s.Next()}}})
	segments := s.Segments()
	c, marks := evacuation(t, s, segments[2].Serial, 1, nil)
	mustStore(t, s, c)
	lost := crash(t, s)
	equal(t, "error", os.Remove(filepath.Join(lost, logDir, segmentName(segments[2].Serial, segments[2].First)+".log")), nil)
	_, err := tryOpenStore(t, lost)
	if _, ok := errors.AsType[*DamageError](err); !ok {
		t.Fatalf("open without a segment: %v", err)
	}
	_, err = s.Release([]uint64{segments[2].Serial})
	equal(t, "error", err, nil)
	_, err = s.Item(2, segments[2].First+1)
	equal(t, "an item that went", errors.Is(err, ErrReleased), true)
	c, _ = evacuation(t, s, segments[3].Serial, 1, marks)
	mustStore(t, s, c)
	_, err = s.Release([]uint64{segments[3].Serial})
	equal(t, "error", err, nil)
	equal(t, "error", s.Close(), nil)
	s = openStore(t, s.Path())
	equal(t, "holes", fmt.Sprint(s.queues.holes), fmt.Sprint([]hole{{first: segments[2].First, end: segments[3].End}}))

	// They are forgotten when the log begins behind them.
	mustStore(t, s, Change{Queues: []QueueChange{{Number: 2, Cursor: s.Next()}}})
	equal(t, "holes while a segment before them is kept", len(s.queues.holes), 1)
	_, err = s.Release([]uint64{segments[0].Serial, segments[1].Serial})
	equal(t, "error", err, nil)
	mustStore(t, s, Change{})
	equal(t, "holes", len(s.queues.holes), 0)
	equal(t, "error", s.Close(), nil)
	openStore(t, s.Path())
}

// So many marks as it has items do not free a segment if they are of other items.
func TestMarksOfOtherItemsFreeNothing(t *testing.T) {
	s := sparseStore(t)
	g := s.Segments()[1]
	n := uint64(len(owedOf(t, s, g.Serial)))
	mustStore(t, s, Change{Queues: []QueueChange{{Number: 1, Cursor: s.Next()}}})
	var marks []uint64
	for seq := g.First; uint64(len(marks)) < n; seq++ {
		if seq%20 != 0 {
			marks = append(marks, seq)
		}
	}
	mustStore(t, s, Change{Queues: []QueueChange{{Number: 2, Cursor: 1, Marks: marks}}})
	for range 2 {
		equal(t, "free", s.Free(), []uint64(nil))
	}
	var own []uint64
	for _, it := range owedOf(t, s, g.Serial) {
		own = append(own, it.Item.Seq)
	}
	mustStore(t, s, Change{Queues: []QueueChange{{Number: 2, Cursor: 1, Marks: own}}})
	equal(t, "free with its own", s.Free(), []uint64{g.Serial})
}

// A frozen queue is owed its whole range, whatever the masks say.
func TestAFrozenQueueIsOwedItsRange(t *testing.T) {
	s := sparseStore(t)
	segments := s.Segments()
	g := segments[2]
	replay := Sink{Name: "replay", State: Active, Queues: []SinkQueue{{Number: 3, From: g.First + 5, End: g.First + 9}, {Number: 4, Live: true}}}
	mustStore(t, s, Change{Sinks: []Sink{replay}, Queues: []QueueChange{
		{Number: 1, Cursor: s.Next()}, {Number: 2, Cursor: s.Next()}, {Number: 3, Cursor: 1, Marks: []uint64{g.First + 6}}, {Number: 4, Cursor: s.Next()},
	}})
	var got []uint64
	for _, it := range owedOf(t, s, g.Serial) {
		equal(t, "owed to", it.Stream, []uint32{3})
		got = append(got, it.Item.Seq)
	}
	equal(t, "owed", got, []uint64{g.First + 5, g.First + 7, g.First + 8})
	equal(t, "segment", s.Segments()[2].Owed, true)
	equal(t, "another segment", s.Segments()[1].Owed, false)
}

func TestOwedOfASegmentThatWentIsReleased(t *testing.T) {
	s := sparseStore(t)
	for _, err := range s.Owed(77) {
		equal(t, "released", errors.Is(err, ErrReleased), true)
	}
	g := s.Segments()[1]
	edit(t, s.log.views()[1].seg.path, func(b []byte) []byte { b[5000] ^= 1; return b })
	var last error
	for _, err := range s.Owed(g.Serial) {
		last = err
	}
	if _, ok := errors.AsType[*DamageError](last); !ok {
		t.Fatalf("a damaged one: %v", last)
	}
}

// Owed and Free say what masks, cursors, marks, rows and bodies say, looked at one by one.
func TestOwedIsTheModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := openStore(t, newQueuesDir(t))
		defer s.Close()
		mustStore(t, s, Change{Sinks: []Sink{liveSink("a", 1), liveSink("b", 2), liveSink("c", 3)}})
		var items []Item
		masks := []*Mask{{}, {To: []uint32{1}}, {To: []uint32{2}}, {To: []uint32{1, 2, 3}}, {To: []uint32{3}, Dropped: []uint32{1}}}
		for range rapid.IntRange(20, 60).Draw(rt, "groups") {
			group := make([]Item, rapid.IntRange(1, 20).Draw(rt, "items"))
			m := rapid.SampledFrom(masks).Draw(rt, "mask")
			for i := range group {
				group[i] = Item{Seq: s.Next() + uint64(i), Time: 1, Mask: m, Body: make([]byte, rapid.IntRange(0, 2000).Draw(rt, "size"))}
				if rapid.IntRange(0, 3).Draw(rt, "other mask") == 0 {
					group[i].Mask = rapid.SampledFrom(masks).Draw(rt, "mask")
				}
			}
			_, err := s.Append(group, 1, nil)
			equal(rt, "error", err, nil)
			items = append(items, group...)
		}
		equal(rt, "error", s.Seal(), nil)
		settled := map[uint32]map[uint64]bool{}
		stuck := map[uint32]map[uint64]bool{} // rows without a body
		var c Change
		bodies := map[uint64]bool{}
		for number := uint32(1); number <= 3; number++ {
			settled[number], stuck[number] = map[uint64]bool{}, map[uint64]bool{}
			qc := QueueChange{Number: number, Cursor: rapid.Uint64Range(1, s.Next()).Draw(rt, "cursor")}
			odds := rapid.IntRange(1, 30).Draw(rt, "odds")
			for _, it := range items {
				fate := rapid.IntRange(0, odds).Draw(rt, "fate")
				if it.Seq < qc.Cursor || it.Mask.Has(number) && fate > 0 {
					settled[number][it.Seq] = true
					if it.Seq >= qc.Cursor {
						qc.Marks = append(qc.Marks, it.Seq)
					}
				}
				if it.Mask.Has(number) && fate > 3*odds/4 && fate < odds || rapid.IntRange(0, 500).Draw(rt, "odd row") == 0 {
					settled[number][it.Seq] = true
					stuck[number][it.Seq] = true
					qc.Rows = append(qc.Rows, Row{Seq: it.Seq, State: RowReady, Bytes: int64(len(it.Body))})
					if fate%3 > 0 {
						bodies[it.Seq] = true
					}
				}
			}
			c.Queues = append(c.Queues, qc)
		}
		for _, seq := range slices.Sorted(maps.Keys(bodies)) {
			c.Bodies = append(c.Bodies, Body{Item: items[seq-1]})
		}
		equal(rt, "error", s.Commit(c), nil)
		if rapid.Bool().Draw(rt, "reopen") {
			equal(rt, "error", s.Close(), nil)
			s = openStore(t, s.Path())
			defer s.Close()
		}
		for _, g := range s.Segments() {
			var want, got []string
			var sum Tally
			for _, it := range items[g.First-1 : g.End-1] {
				var stream, rows []uint32
				for number := uint32(1); number <= 3; number++ {
					if it.Mask.Has(number) && !settled[number][it.Seq] {
						stream = append(stream, number)
					}
					if stuck[number][it.Seq] && !bodies[it.Seq] {
						rows = append(rows, number)
					}
				}
				if len(stream)+len(rows) > 0 {
					sum = sum.Add(Tally{1, int64(len(it.Body))})
					want = append(want, fmt.Sprint(it.Seq, len(it.Body), stream, rows))
				}
			}
			for it, err := range s.Owed(g.Serial) {
				equal(rt, "error", err, nil)
				got = append(got, fmt.Sprint(it.Item.Seq, len(it.Item.Body), it.Stream, it.Rows))
			}
			equal(rt, "owed", got, want)
			if g.Owes.Items < sum.Items || g.Owes.Bytes < sum.Bytes {
				rt.Fatalf("the bound of segment %d is %+v, and it owes %+v", g.Serial, g.Owes, sum)
			}
			if len(want) > 0 && g.Free() {
				rt.Fatalf("segment %d is free and owes %v", g.Serial, want)
			}
			if last := items[max(g.End, 2)-2]; g.End > g.First && g.Newest != last.Time {
				rt.Fatalf("newest %d", g.Newest)
			}
		}
	})
}

func TestMarkSetsCount(t *testing.T) {
	marks := []uint64{0, 1, 63, 64, 65, 127, 4095, 4096, 8191, 8192, 20000}
	s := makeMarkSet(encodeMarks(marks))
	for first := range uint64(200) {
		for _, end := range []uint64{0, 1, 64, 65, 128, 129, 4095, 4096, 4097, 8191, 8192, 8193, 20000, 20001, 30000} {
			want := int64(0)
			for _, m := range marks {
				if first <= m && m < end {
					want++
				}
			}
			if first < end {
				equal(t, fmt.Sprint("marks from ", first, " to ", end), s.count(first, end), want)
			}
		}
	}
	for seq := range uint64(20001) {
		equal(t, "has", s.has(seq), slices.Contains(marks, seq))
	}
}
