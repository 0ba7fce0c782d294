package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Guarantee G6, in part: what was released behind a damaged segment is not taken for a part of it that is lost. Its end
// is not in the file: a damaged segment has no footer.
func TestWhatWasReleasedBehindADamagedSegmentIsNotLost(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first  bool // the segment is healed before the one behind it is released
		cursor int  // all cursors are at the beginning of that segment
	}{
		"healed, then released":                {true, 1},
		"released, then damaged":               {false, 1},
		"released below all cursors":           {true, 3},
		"released below all cursors, unhealed": {false, 3},
	} {
		h := newHealingStore(t)
		if c.first {
			h.spoil(1)
			h.reopen()
			equal(t, name+": healed", len(h.healed), 1)
			equal(t, "error", h.Seal(), nil)
		}
		gone := h.sealed(2)
		h.settle(gone, c.cursor)
		if c.cursor == 3 { // a power cut may keep the name of the damaged one, and not of the one behind it
			equal(t, "error", os.Remove(gone.seg.path), nil)
		} else if _, err := h.Release([]uint64{gone.seg.serial}); err != nil {
			t.Fatal(err)
		}
		if !c.first {
			h.spoil(1)
		}
		before, was := h.healedLost(), fmt.Sprint(h.queues.hurt.lost)
		h.reopen()
		h.reopen()
		equal(t, name+": segments", len(h.log.views()), 4)
		if c.first {
			equal(t, name+": record", fmt.Sprint(h.queues.hurt.lost), was)
			equal(t, name+": told again", h.healedLost(), before)
		}
		for _, r := range h.queues.hurt.lost {
			if r.end > gone.seg.first {
				t.Errorf("%s: %d to %d are lost, of which those from %d were released", name, r.first, r.end, gone.seg.first)
			}
		}
		equal(t, name+": something is lost", len(h.queues.hurt.lost) > 0, true)
	}
}

// spoil clears a part of a segment, and what follows its blocks.
func (h *healingStore) spoil(i int) {
	h.t.Helper()
	v := h.sealed(i)
	edit(h.t, v.seg.path, func(b []byte) []byte {
		clear(b[8192:12288])
		return append(b[:v.size], "no footer"...)
	})
}

// settle makes marks for all of a segment, or puts the cursors to where segment i begins.
func (h *healingStore) settle(v view, i int) {
	h.t.Helper()
	var marks []uint64
	for seq := v.seg.first; seq < v.end; seq++ {
		marks = append(marks, seq)
	}
	at := h.sealed(i).seg.first
	if i == 3 {
		marks = nil
	}
	change := Change{Queues: []QueueChange{{Number: 1, Cursor: at, Marks: marks}, {Number: 2, Cursor: at, Marks: marks}}}
	mustStore(h.t, h.Store, change)
	mustStore(h.t, h.Store, Change{QueueTime: 2})
}

func (h *healingStore) healedLost() (n int) {
	for _, x := range h.healed {
		n += x.Lost
	}
	return n
}

// Guarantee G6, in part: a start that gave something up leaves patience to those who read later. What it gave up stays so.
func TestPatienceComesBackAfterAStartThatGaveUp(t *testing.T) {
	t.Parallel()
	h := newHealingStore(t)
	h.opts.GiveUp = true
	h.reopen()
	disk, bad, fail := h.log.ops.pread, int64(8<<10), error(syscall.EIO)
	g := h.sealed(1).seg
	h.log.ops.pread = func(f *os.File, b []byte, off int64) (int, error) {
		if filepath.Base(f.Name()) == filepath.Base(g.path) && off < bad+pageBytes && off+int64(len(b)) > bad {
			return 0, &os.PathError{Op: "read", Path: f.Name(), Err: fail}
		}
		return disk(f, b, off)
	}
	if _, _, err := h.read(1); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	equal(t, "healed by what may pass", len(h.healed), 0)

	h.Condemn(g.first)
	fail = os.ErrClosed
	if _, _, err := h.read(1); !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	equal(t, "healed by what is no answer of the disk", len(h.healed), 0)

	fail = syscall.EIO
	_, lost, err := h.read(1)
	equal(t, "error", err, nil)
	equal(t, "healed", len(h.healed), 1)
	_, again, err := h.read(1)
	equal(t, "error", err, nil)
	equal(t, "lost", again, lost)

	was := bad
	bad = 24 << 10 // another page of the same segment
	if _, _, err := h.read(1); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	equal(t, "healed by another page", len(h.healed), 1)
	bad = was
	_, again, err = h.read(1)
	equal(t, "lost", again, lost)
	equal(t, "error", err, nil)
}
