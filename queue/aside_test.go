package queue

import (
	"fmt"
	"slices"
	"testing"

	"holdfast/store"
)

func TestFateOfAnItemIsDecidedByItsTimesAndItsKey(t *testing.T) {
	const now, wall = 1000, 5000
	for _, c := range []struct {
		expires, notBefore int64
		busy               bool
		want               fate
	}{
		{0, 0, false, goes},
		{0, 0, true, behind},
		{now + 1, 0, false, goes},
		{now, 0, false, expired},
		{now - 1, 0, true, expired},
		{0, wall, false, goes},
		{0, wall + 1, false, early},
		{0, wall + 1, true, early}, // it takes its place in the line when it is due
		{0, wall, true, behind},
		{now, wall + 1, false, expired},
		{wall, now, false, goes}, // each by its own clock
		{1, 0, false, expired},
	} {
		it := store.Item{Expires: c.expires, NotBefore: c.notBefore}
		if got := fateOf(&it, now, wall, c.busy); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

func TestKeyHashIsZeroForNoKeyOnly(t *testing.T) {
	if store.KeyHash("") != 0 {
		t.Error("no key has a hash")
	}
	seen := map[uint64]bool{}
	for n := range 10_000 {
		h := store.KeyHash(fmt.Sprint(n))
		if h == 0 || seen[h] || h != store.KeyHash(fmt.Sprint(n)) {
			t.Fatalf("key %d: %d", n, h)
		}
		seen[h] = true
	}
	if got := store.KeyHash("a"); got != 0xaf63dc4c8601ec8c {
		t.Errorf("%#x: rows on disk have the FNV-1a of their keys", got)
	}
}

func TestRangesJoinNeighboursOfOneReason(t *testing.T) {
	const d, e = store.GoneDropped, store.GoneExpired
	for _, c := range []struct {
		ended map[uint64]store.Reason
		want  []store.Gone
	}{
		{nil, nil},
		{map[uint64]store.Reason{7: d}, []store.Gone{{First: 7, Last: 7, Reason: d}}},
		{map[uint64]store.Reason{3: d, 1: d, 2: d}, []store.Gone{{First: 1, Last: 3, Reason: d}}},
		{map[uint64]store.Reason{1: d, 2: e, 3: d}, []store.Gone{{First: 1, Last: 1, Reason: d}, {First: 2, Last: 2, Reason: e}, {First: 3, Last: 3, Reason: d}}},
		{map[uint64]store.Reason{1: d, 3: d, 4: d}, []store.Gone{{First: 1, Last: 1, Reason: d}, {First: 3, Last: 4, Reason: d}}},
	} {
		if got := rangesOf(c.ended); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.ended, got, c.want)
		}
	}
}

func keyed(seq, key uint64, state store.RowState) *row {
	return &row{Row: store.Row{Seq: seq, KeyHash: key, State: state}}
}

// soonSeqs are the rows that may be handed out, in order.
func (r *rows) soonSeqs() (seqs []uint64) {
	for _, w := range r.soon.rows {
		seqs = append(seqs, w.Seq)
	}
	slices.Sort(seqs)
	return seqs
}

func wantSoon(t *testing.T, r *rows, what string, want ...uint64) {
	t.Helper()
	if got := r.soonSeqs(); !slices.Equal(got, want) {
		t.Errorf("%s: %v may go, want %v", what, got, want)
	}
}

// Guarantee B2, in part: of a key one goes at a time, in order; who has no key waits for nobody.
func TestRowsOfAKeyGoOneByOne(t *testing.T) {
	r := newRows()
	r.begin(1) // one of the stream is out
	for _, w := range []*row{keyed(9, 1, store.RowBlocked), keyed(5, 1, store.RowBlocked), keyed(7, 2, store.RowReady), keyed(8, 2, store.RowReady), keyed(6, 0, store.RowReady), keyed(4, 0, store.RowReady)} {
		r.enter(w, true)
	}
	wantSoon(t, r, "at first", 4, 6, 7)
	if !r.busy(1) || !r.busy(2) || r.busy(3) {
		t.Errorf("lines %v", r.lines)
	}
	r.passed(1)
	wantSoon(t, r, "the one of the stream is over", 4, 5, 6, 7)
	r.hand()
	w := r.hand()
	if w.Seq != 5 {
		t.Fatalf("handed %d", w.Seq)
	}
	w.State = store.RowRetry
	w.Next = 50
	r.put(w)
	wantSoon(t, r, "5 waits for its retry, and 9 behind it", 6, 7)
	r.retry(50)
	wantSoon(t, r, "5 is due", 5, 6, 7)
	w = r.hand()
	r.remove(w)
	r.passed(1)
	r.passed(0)
	wantSoon(t, r, "5 is over", 6, 7, 9)
	r.pull(r.all[9])
	r.pull(r.all[7])
	wantSoon(t, r, "9 and 7 were pulled", 6, 8)
	if r.busy(1) || !r.busy(2) {
		t.Errorf("lines %v", r.lines)
	}
	r.pull(r.all[8])
	if len(r.lines) != 0 {
		t.Errorf("lines %v are kept of keys that have nothing", r.lines)
	}
}

func TestRowsAreWithoutLinesWhereOrderIsNotByKey(t *testing.T) {
	r := newRows()
	r.enter(keyed(5, 1, store.RowBlocked), false)
	r.enter(keyed(6, 1, store.RowReady), false)
	wantSoon(t, r, "both", 5, 6)
	r.pull(r.all[5])
	wantSoon(t, r, "one", 6)
}

func TestPullTakesARowFromWhereverItIs(t *testing.T) {
	r := newRows()
	r.begin(1)
	late, soon, line, early, coming := keyed(1, 0, store.RowRetry), keyed(2, 0, store.RowReady), keyed(3, 1, store.RowBlocked), keyed(4, 1, store.RowNotDue), keyed(5, 1, store.RowBlocked)
	for _, w := range []*row{late, soon, line, early} {
		r.enter(w, true)
	}
	r.arrive(coming, 4, true)
	for _, w := range []*row{late, soon, line, early, coming} {
		r.pull(w)
	}
	if n := len(r.all) + len(r.later.rows) + len(r.soon.rows) + len(r.early.rows) + len(r.coming.rows) + len(r.lines[1].rows); n != 0 {
		t.Errorf("%d are left: %+v", n, r)
	}
	if !r.busy(1) {
		t.Error("the key is under way still")
	}
}

// Guarantee B2, in part: after a start the rows that had left the stream before older items come after those, and after
// ready ones on disk.
func TestRowsThatAreAheadWaitForTheirTurn(t *testing.T) {
	r := newRows()
	r.ready, r.from = true, 0
	r.arrive(keyed(7, 1, store.RowBlocked), 5, true)
	r.arrive(keyed(3, 2, store.RowBlocked), 5, true)
	r.arrive(keyed(4, 0, store.RowReady), 5, true)
	r.arrive(keyed(8, 0, store.RowReady), 5, true)
	r.arrive(keyed(9, 1, store.RowNotDue), 5, true)
	r.reach(5, true)
	wantSoon(t, r, "what is ready on disk was not read", 4)
	r.from = 4
	r.arrive(keyed(2, 2, store.RowReady), 5, true)
	r.reach(5, true)
	wantSoon(t, r, "read up to 4", 2, 4)
	r.ready = false
	r.reach(5, true)
	wantSoon(t, r, "all read, the stream is at 5", 2, 4)
	r.begin(1) // 5 was handed out of the stream
	r.reach(9, true)
	wantSoon(t, r, "the stream is at 9", 2, 4, 8)
	r.passed(1)
	wantSoon(t, r, "5 is over", 2, 4, 7, 8)
	if r.lowest() != 2 {
		t.Errorf("lowest %d", r.lowest())
	}
	r.fallDue(0, 9, true)
	wantSoon(t, r, "9 is due, and its key under way", 2, 4, 7, 8)
}

// Guarantee B4, in part: an item that a sink dropped has not the mask of one that it never wanted.
func TestMasksAreToldApartByWhatTheyDropped(t *testing.T) {
	in := newInterner()
	plain, dropped := in.intern([]uint32{2}, nil), in.intern([]uint32{2}, []uint32{1})
	if plain == dropped || len(plain.Dropped) != 0 || len(dropped.Dropped) != 1 {
		t.Errorf("%+v and %+v", plain, dropped)
	}
	if in.intern([]uint32{2}, []uint32{1}) != dropped || in.intern([]uint32{2, 1}, nil) == dropped {
		t.Error("equal masks are one, others are not")
	}
}
