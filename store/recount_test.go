package store

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// owes is what a queue is owed, by reading.
func owes(t testing.TB, s *Store, number uint32) (sum Tally) {
	t.Helper()
	st, err := s.LoadQueue(number)
	if err != nil {
		t.Fatal(err)
	}
	marks := map[uint64]bool{}
	for _, m := range st.Marks {
		marks[m] = true
	}
	rows, err := s.Rows(number, 0, math.MaxInt, RowReady, RowRetry, RowNotDue, RowBlocked)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		sum = sum.Add(Tally{1, rows[i].Bytes})
	}
	for r := s.Reader(number, st.Cursor); ; {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return sum
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Items {
			it := &b.Items[i]
			if it.Seq < st.Cursor || marks[it.Seq] || !it.Mask.Has(number) {
				continue
			}
			n := int64(len(it.Body))
			if it.Lost != nil {
				n = it.Lost.Bytes
			}
			sum = sum.Add(Tally{1, n})
		}
	}
}

// waitingOf is what the counts say.
func waitingOf(t testing.TB, s *Store, number uint32) Tally {
	st, err := s.LoadQueue(number)
	if err != nil {
		t.Fatal(err)
	}
	return s.Accepted(number).Add(st.Counts.Requeued).Sub(st.Counts.Settled)
}

// fits compares the two.
func fits(t testing.TB, s *Store, what string) bool {
	t.Helper()
	ok := true
	for n := uint32(1); n <= 2; n++ {
		if got, want := waitingOf(t, s, n), owes(t, s, n); got != want {
			t.Errorf("%s: queue %d: waiting %v, owed %v (accepted %v)", what, n, got, want, s.Accepted(n))
			ok = false
		}
	}
	return ok
}

// sickAt is a disk that does not give one page of a file.
func sickAt(name string) *ops {
	disk := diskOps()
	sick := disk
	sick.pread = func(f *os.File, b []byte, off int64) (int, error) {
		if filepath.Base(f.Name()) == name && off < 12<<10 && off+int64(len(b)) > 8<<10 {
			return 0, &os.PathError{Op: "read", Path: f.Name(), Err: syscall.EIO}
		}
		return disk.pread(f, b, off)
	}
	return &sick
}

// Guarantee G6, in part: a start that counts what waits, after damage, meets a sector that the disk does not give. When that was
// tried for long enough it is damage too: in a segment that was healed before, and in one that no start has read.
func TestRecountOvercomesABadSector(t *testing.T) {
	for i, segment := range []int{1, 2} {
		h := newHealingStore(t)
		edit(t, h.sealed(1).seg.path, func(b []byte) []byte { clear(b[8<<10 : 12<<10]); return b })
		h.reopen()
		_, _, err := h.read(1)
		equal(t, "error", err, nil)
		bad := sickAt(filepath.Base(h.sealed(segment).seg.path))
		path := h.Path()
		equal(t, "error", h.Close(), nil)
		for _, giveUp := range []bool{false, true} {
			d, err := LockDir(path)
			equal(t, "error", err, nil)
			o := h.opts
			o.ops, o.GiveUp = bad, giveUp
			s, err := Open(d, o)
			if giveUp != (err == nil) || err != nil && !errors.Is(err, syscall.EIO) {
				t.Fatalf("case %d, given up %t: %v", i, giveUp, err)
			}
			if err == nil {
				fits(t, s, fmt.Sprint("case ", i))
				equal(t, "error", s.Close(), nil)
			}
		}
	}
}

// Guarantee G7, in part: what was settled and is missing now was accepted once.
func TestCountsFitWhereTheSettledEndOfTheLogIsGone(t *testing.T) {
	harms := map[string]func(t *testing.T, newest, before view){
		"truncated": func(t *testing.T, v, _ view) { equal(t, "error", os.Truncate(v.seg.path, v.size/2), nil) },
		"zeros": func(t *testing.T, v, _ view) {
			edit(t, v.seg.path, func(b []byte) []byte { clear(b[v.size/2:]); return b })
		},
		"newest gone": func(t *testing.T, v, _ view) { equal(t, "error", os.Remove(v.seg.path), nil) },
		"newest gone, no footer": func(t *testing.T, v, before view) {
			equal(t, "error", os.Remove(v.seg.path), nil)
			equal(t, "error", os.Truncate(before.seg.path, before.size), nil)
		},
		"log gone": func(t *testing.T, v, _ view) {
			dir := filepath.Dir(v.seg.path)
			equal(t, "error", os.RemoveAll(dir), nil)
			equal(t, "error", os.Mkdir(dir, 0o700), nil)
		},
	}
	for name, harm := range harms {
		for _, clean := range []bool{true, false} {
			t.Run(fmt.Sprint(name, clean), func(t *testing.T) {
				h := newHealingStore(t)
				h.settleUpTo(h.Next())
				mustStore(t, h.Store, Change{QueueTime: 3})
				path, views := h.Path(), h.log.views()
				if !clean {
					equal(t, "error", h.queues.clearClean(), nil)
				}
				h.leave(clean)
				harm(t, views[len(views)-1], views[len(views)-2])
				d, err := LockDir(path)
				equal(t, "error", err, nil)
				s, err := Open(d, h.opts)
				equal(t, "error", err, nil)
				equal(t, "error", s.RewriteTail(), nil)
				fits(t, s, name)
				equal(t, "error", s.Close(), nil)
			})
		}
	}
}

// leave closes the store, in order or as a kill does.
func (h *healingStore) leave(clean bool) {
	if clean {
		equal(h.t, "error", h.Close(), nil)
		return
	}
	h.Store.leave(h.t)
}

// leave ends a store without a word.
func (s *Store) leave(t testing.TB) {
	s.closed.Store(true)
	equal(t, "error", errors.Join(s.queues.close(), s.log.close(), s.dir.Close()), nil)
}

// Guarantee G6, in part: what a frozen queue owes is not for the store to tell, and is not counted anew.
func TestRecountLeavesFrozenQueuesAlone(t *testing.T) {
	h := newHealingStore(t)
	frozen := Sink{Name: "c", State: Active, Queues: []SinkQueue{{Number: 3, From: 1, End: h.Next(), Match: []byte("x")}}}
	mustStore(t, h.Store, Change{Sinks: []Sink{frozen}})
	counts := Counts{Settled: Tally{7, 70}}
	mustStore(t, h.Store, Change{QueueTime: 2, Queues: []QueueChange{{Number: 3, Cursor: 100, Counts: counts}}})
	equal(t, "error", h.queues.addDamage([]uint64{99}, nil), nil)
	h.reopen()
	st, err := h.LoadQueue(3)
	equal(t, "error", err, nil)
	equal(t, "counts", st.Counts, counts)
}

// settleUpTo settles all below a seq for both queues.
func (h *healingStore) settleUpTo(end uint64) {
	c := Change{QueueTime: 2}
	for n := uint32(1); n <= 2; n++ {
		var sum Tally
		for r := h.Reader(n, 0); ; {
			b, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				h.t.Fatal(err)
			}
			for _, it := range b.Items {
				if it.Seq < end && it.Mask.Has(n) {
					sum = sum.Add(Tally{1, int64(len(it.Body))})
				}
			}
		}
		c.Queues = append(c.Queues, QueueChange{Number: n, Cursor: end, Counts: Counts{Settled: sum}})
	}
	mustStore(h.t, h.Store, c)
}
