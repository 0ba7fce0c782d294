package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// placesOf are where the blocks of the newest segment begin, and where the last one ends.
func placesOf(t testing.TB, s *Store) (path string, places []int64) {
	t.Helper()
	views := s.log.views()
	v := views[len(views)-1]
	f, err := v.seg.open()
	equal(t, "error", err, nil)
	r := newBlockReader(v.seg, f, v.size, readBytes)
	for off := v.seg.start; off < v.size; {
		places = append(places, off)
		h, err := r.block(off)
		equal(t, "error", err, nil)
		off += int64(h.size())
	}
	return filepath.Base(v.seg.path), append(places, v.size)
}

// harms are done to the blocks of a group commit, of which b has the bytes.
var harms = map[string]func(b []byte, places []int64){
	"a bit of the first header":  func(b []byte, at []int64) { b[at[0]+8] ^= 1 },
	"the first block":            func(b []byte, at []int64) { clear(b[at[0]:at[1]]) },
	"the last block":             func(b []byte, at []int64) { clear(b[at[len(at)-2]:at[len(at)-1]]) },
	"all of it":                  func(b []byte, at []int64) { clear(b[at[0]:at[len(at)-1]]) },
	"a bit of an item":           func(b []byte, at []int64) { b[at[1]-300] ^= 1 },
	"a bit of the last header's": func(b []byte, at []int64) { b[at[len(at)-2]+20] ^= 1 },
}

// Guarantee G6, in part: what an unclean stop had written again was durable before anything else of its segment. What does
// not check of it is told as lost, whatever follows it, and no more than that: not the seqs that were left out before it.
func TestWhatWasWrittenAgainIsNoGap(t *testing.T) {
	t.Parallel()
	for what, harm := range harms {
		for _, behindGap := range []bool{false, true} {
			for later := range 3 {
				t.Run(fmt.Sprintf("%s, behind a gap %v, %d behind it", what, behindGap, later), func(t *testing.T) {
					t.Parallel()
					for _, n := range []int{1, 60} {
						harmWhatWasWrittenAgain(t, harm, behindGap, n, later)
					}
				})
			}
		}
	}
}

func harmWhatWasWrittenAgain(t *testing.T, harm func([]byte, []int64), behindGap bool, n, later int) {
	t.Helper()
	h := newHealingStore(t)
	nothing := func(string) {}
	left := h.Next() // the first of those that are left out
	if behindGap {
		h.put(5)
		name, at := placesOf(t, h.Store)
		h.crash(func(dir string) {
			edit(t, filepath.Join(dir, logDir, name), func(b []byte) []byte { clear(b[at[len(at)-2]+100:]); return b })
		})
		for seq := left; seq < h.Next(); seq++ {
			delete(h.bodies, seq) // they were not confirmed
		}
	}
	first := h.Next()
	h.put(n)
	h.crash(nothing)
	name, at := placesOf(t, h.Store)
	for range later {
		h.put(1)
	}
	before := len(h.healed)
	h.crash(func(dir string) {
		edit(t, filepath.Join(dir, logDir, name), func(b []byte) []byte { harm(b, at); return b })
		if findings, _, err := Check(dir, nil); err != nil || len(findings) == 0 {
			t.Errorf("fsck finds nothing: %v", err)
		} else if behindGap && strings.Contains(fmt.Sprint(findings), fmt.Sprintf("seqs %d to", left)) {
			t.Errorf("fsck misses what was left out: %v", findings)
		}
	})
	h.judge(first, before)
}

// judge compares what cannot be read of what was given, and is not below first, with what was told since.
func (h *healingStore) judge(first uint64, before int) {
	h.t.Helper()
	lost, told := 0, 0
	for seq := uint64(1); seq < h.Next(); seq++ {
		it, err := h.Item(1, seq)
		body, given := h.bodies[seq]
		switch {
		case given && errors.Is(err, ErrLost) && seq >= first:
			lost++
		case given && err == nil && string(it.Body) == body, !given && errors.Is(err, ErrNotFound):
		default:
			h.t.Errorf("item %d, given %v: %v", seq, given, err)
		}
	}
	for _, x := range h.healed[before:] {
		told += x.Lost
	}
	if told != lost {
		h.t.Errorf("%d are lost, %d are told", lost, told)
	}
}

// A hole within what was written again, of a request that was torn, is none of what is lost: also where the header behind it
// does not check, and its copy does.
func TestWhatWasTornOutIsNotToldAsLost(t *testing.T) {
	t.Parallel()
	for block := 0; ; block++ {
		h := newHealingStore(t)
		first := h.Next()
		h.put(40)
		name, at := placesOf(t, h.Store)
		at = at[len(at)-4:]
		h.crash(func(dir string) {
			edit(t, filepath.Join(dir, logDir, name), func(b []byte) []byte { b[(at[1]+at[2])/2] ^= 1; return b })
		})
		for seq := first; seq < h.Next(); seq++ {
			if _, err := h.Item(1, seq); errors.Is(err, ErrNotFound) {
				delete(h.bodies, seq)
			}
		}
		if name, at = placesOf(t, h.Store); block == len(at)-1 {
			break
		}
		h.put(1)
		before := len(h.healed)
		h.crash(func(dir string) {
			edit(t, filepath.Join(dir, logDir, name), func(b []byte) []byte { b[at[block]+8] ^= 1; return b })
		})
		h.judge(first, before)
		equal(t, "one was torn out", len(h.bodies), int(h.Next())-2)
	}
}
