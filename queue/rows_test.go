package queue

import (
	"slices"
	"testing"
	"time"

	"holdfast/store"
)

func newRows(list ...store.Row) *rows {
	r := new(makeRows())
	for _, w := range list {
		r.put(&row{Row: w})
	}
	return r
}

func retryAt(seq uint64, next int64) store.Row {
	return store.Row{Seq: seq, State: store.RowRetry, Next: next}
}

func ready(seq uint64) store.Row { return store.Row{Seq: seq, State: store.RowReady} }

// handAll hands out all that is due, and returns the seqs.
func (r *rows) handAll(now int64) (seqs []uint64) {
	r.retry(now)
	for r.next() != nil {
		seqs = append(seqs, r.hand().Seq)
	}
	return seqs
}

func TestRowsComeByTimeAndThenBySeq(t *testing.T) {
	r := newRows(retryAt(9, 10), retryAt(3, 30), retryAt(5, 20), retryAt(4, 20), ready(8), retryAt(1, 31))
	for _, c := range []struct {
		now  int64
		want []uint64
		due  int64
	}{
		{9, []uint64{8}, 10},
		{10, []uint64{9}, 20},
		{19, nil, 20},
		{30, []uint64{3, 4, 5}, 31},
		{31, []uint64{1}, -1},
	} {
		if got := r.handAll(c.now); !slices.Equal(got, c.want) {
			t.Errorf("at %d: %v, want %v", c.now, got, c.want)
		}
		want := time.Duration(-1)
		if c.due >= 0 {
			want = time.Duration(c.due-c.now) * time.Millisecond
		}
		if due := r.due(c.now, 0); due != want {
			t.Errorf("after %d the next is due in %v, want %v", c.now, due, want)
		}
	}
	if len(r.sent.rows) != 6 || len(r.all) != 6 {
		t.Errorf("%d out of %d", len(r.sent.rows), len(r.all))
	}
}

func TestHeadIsTheOldestThatWaits(t *testing.T) {
	r := newRows()
	if _, waits := r.head(); waits {
		t.Error("nothing waits")
	}
	r = newRows(retryAt(7, 10), retryAt(3, 99), retryAt(5, 1))
	if seq, waits := r.head(); !waits || seq != 3 {
		t.Errorf("head %d %t", seq, waits)
	}
	r.retry(50)
	if seq, waits := r.head(); !waits || seq != 3 {
		t.Errorf("head %d %t", seq, waits)
	}
	r.retry(99)
	if _, waits := r.head(); waits {
		t.Error("all are due")
	}
}

func TestRowThatIsPutBackOrRemovedIsNotOut(t *testing.T) {
	r := newRows(retryAt(1, 0), retryAt(2, 0))
	r.retry(0)
	a, b := r.hand(), r.hand()
	if len(r.sent.rows) != 2 || !a.out || a.turn != 1 {
		t.Fatalf("%d out, %+v", len(r.sent.rows), a)
	}
	r.put(a)
	r.remove(b)
	if len(r.sent.rows) != 0 || a.out || b.out || len(r.all) != 1 {
		t.Errorf("%d out, %+v, %+v", len(r.sent.rows), a, b)
	}
	r.retry(0)
	if r.hand(); a.turn != 2 {
		t.Errorf("turn %d", a.turn)
	}
}

func TestRequeuedRowsAreLookedForFromTheLowest(t *testing.T) {
	r := newRows()
	r.from = 50
	r.requeued(70)
	if r.from != 70 || !r.ready {
		t.Errorf("from %d: nothing was on disk, so it begins at the requeued", r.from)
	}
	r.requeued(90)
	r.requeued(20)
	if r.from != 20 {
		t.Errorf("from %d", r.from)
	}
}

func TestOutboxKeepsWhatIsOpenAndTellsWhatIsSettled(t *testing.T) {
	var o outbox
	slots := map[uint64]uint64{}
	for _, seq := range []uint64{3, 5, 6, 9} {
		slots[seq] = o.add(&store.Item{Seq: seq})
	}
	settle := func(seq uint64) { o.settle(o.get(slots[seq])) }
	check := func(oldest uint64, open int, marks ...uint64) {
		t.Helper()
		seq, ok := o.oldest()
		if ok != (oldest > 0) || seq != oldest || o.open != open || !slices.Equal(o.marks(), marks) {
			t.Errorf("oldest %d, open %d, marks %v; want %d, %d, %v", seq, o.open, o.marks(), oldest, open, marks)
		}
	}
	check(3, 4)
	settle(6)
	check(3, 3, 6)
	settle(3)
	check(5, 2, 6)
	if o.get(slots[3]) != nil || o.get(slots[6]) != nil {
		t.Error("settled slots are open")
	}
	for _, seq := range []uint64{3, 6, 7, 10} {
		if open, _ := o.holds(seq); open {
			t.Errorf("%d is settled, or was never out", seq)
		}
	}
	o.giveBack(slots[9])
	for seq, want := range map[uint64]bool{5: false, 9: true} {
		if open, back := o.holds(seq); !open || back != want {
			t.Errorf("%d: open %t, back %t", seq, open, back)
		}
	}
	o.back = nil
	settle(5)
	check(9, 1)
	settle(9)
	check(0, 0)
	o.giveBack(8)
	o.giveBack(6)
	o.giveBack(7)
	if !slices.Equal(o.back, []uint64{6, 7, 8}) {
		t.Errorf("back %v", o.back)
	}
}

func TestEqualMasksAreOne(t *testing.T) {
	in := newInterner()
	a, b := in.intern([]uint32{3, 1}, []uint32{2}), in.intern([]uint32{1, 3}, []uint32{2})
	if a != b || !slices.Equal(a.To, []uint32{1, 3}) {
		t.Errorf("%p %+v, %p %+v", a, a, b, b)
	}
	for _, other := range []*store.Mask{in.intern([]uint32{1}, []uint32{3, 2}), in.intern([]uint32{1, 2, 3}, nil), in.intern(nil, []uint32{1, 2, 3}), in.intern(nil, nil)} {
		if other == a {
			t.Errorf("%+v was taken for %+v", other, a)
		}
	}
	for i := range uint32(2 * maxMasks) {
		in.intern([]uint32{i + 10}, nil)
	}
	if n := len(in.masks); n > maxMasks {
		t.Errorf("%d masks are kept", n)
	}
}
