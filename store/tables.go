package store

import (
	"encoding/binary"
	"slices"
)

// A maskTable gives the masks of one block their places. Most items have the mask of the item before: that is tried
// first, then the pointer, then the content.
type maskTable struct {
	masks    []*Mask
	tallies  []Tally
	sets     []byte // encoded, as they go into the block
	last     uint32
	pointers map[*Mask]uint32
	contents map[string]uint32
	scratch  []byte
	before   int // length of sets before the newest
}

func (t *maskTable) reset() {
	t.masks, t.tallies, t.sets = t.masks[:0], t.tallies[:0], t.sets[:0]
	clear(t.pointers)
	clear(t.contents)
}

// add returns the place of m, and whether it is a new one.
func (t *maskTable) add(m *Mask) (uint32, bool) {
	if int(t.last) < len(t.masks) && t.masks[t.last] == m {
		return t.last, false
	}
	if i, ok := t.pointers[m]; ok {
		t.last = i
		return i, false
	}
	t.scratch = appendSet(appendSet(t.scratch[:0], m.To), m.Dropped)
	if i, ok := t.contents[string(t.scratch)]; ok {
		t.pointers[m] = i
		t.last = i
		return i, false
	}
	return t.insert(m), true
}

func (t *maskTable) insert(m *Mask) uint32 {
	if t.pointers == nil {
		t.pointers, t.contents = make(map[*Mask]uint32), make(map[string]uint32)
	}
	i := uint32(len(t.masks))
	t.masks, t.tallies = append(t.masks, m), append(t.tallies, Tally{})
	t.before = len(t.sets)
	t.sets = append(t.sets, t.scratch...)
	t.pointers[m], t.contents[string(t.scratch)] = i, i
	t.last = i
	return i
}

// undo takes the newest mask out again, if it was added for an item that goes to the next block.
func (t *maskTable) undo(added bool) {
	if added {
		n := len(t.masks) - 1
		t.masks, t.tallies, t.sets = t.masks[:n], t.tallies[:n], t.sets[:t.before]
	}
}

// An attrsTable does the same for attribute sets.
type attrsTable struct {
	sets   []byte
	offset []uint32 // where in sets the bytes of each begin
	last   Attrs
	lastAt uint32
	places map[Attrs]uint32
	before int
}

func (t *attrsTable) reset() {
	t.sets, t.offset, t.last = t.sets[:0], t.offset[:0], ""
	clear(t.places)
}

func (t *attrsTable) add(a Attrs) (uint32, bool) {
	if a == t.last {
		return t.lastAt, false
	}
	i, ok := t.places[a]
	if !ok {
		if t.places == nil {
			t.places = make(map[Attrs]uint32)
		}
		i = uint32(len(t.offset))
		t.before = len(t.sets)
		t.sets = binary.AppendUvarint(t.sets, uint64(len(a)))
		t.offset = append(t.offset, uint32(len(t.sets)))
		t.sets = append(t.sets, a...)
		t.places[a] = i
	}
	t.last, t.lastAt = a, i
	return i, !ok
}

func (t *attrsTable) undo(added bool) {
	if added {
		t.offset, t.sets = t.offset[:len(t.offset)-1], t.sets[:t.before]
	}
}

// appendSet writes an ascending set of numbers: how many, the first, then differences.
func appendSet(b []byte, set []uint32) []byte {
	b = binary.AppendUvarint(b, uint64(len(set)))
	var last uint32
	for _, n := range set {
		b = binary.AppendUvarint(b, uint64(n-last))
		last = n
	}
	return b
}

// set reads what appendSet wrote. A set that does not ascend is bad.
func (u *unpacker) set() []uint32 {
	n := u.count(1)
	if n == 0 {
		return nil
	}
	set := make([]uint32, 0, n)
	var last uint64
	for i := range n {
		d := u.uvarint()
		if d > 1<<32-1 || (i > 0 && d == 0) || last+d > 1<<32-1 {
			u.fail()
			return nil
		}
		last += d
		set = append(set, uint32(last))
	}
	return set
}

// union merges two ascending sets; it returns a itself if that holds all of b.
func union(a, b []uint32) []uint32 {
	out := a
	for _, n := range b {
		if i, ok := slices.BinarySearch(out, n); !ok {
			if len(out) == len(a) {
				out = slices.Clone(a)
			}
			out = slices.Insert(out, i, n)
		}
	}
	return out
}
