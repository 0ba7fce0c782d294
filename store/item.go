package store

import (
	"encoding/binary"
	"iter"
	"maps"
	"slices"
)

// An Item is one unit as the log keeps it. Strings and bytes of an item that was read point into its block's buffer:
// they are immutable, and keep the whole buffer alive.
type Item struct {
	Seq       uint64
	Time      int64   // ms since 1970, wall clock, never going back: the time in the item's id
	Mask      *Mask   // shared by all items of its block with the same mask
	Attrs     Attrs   // shared likewise
	Key       string  // empty: none
	Expires   int64   // ms of queue time; 0: never
	NotBefore int64   // ms since 1970, wall clock; 0: at once
	Continues bool    // belongs to the same request as the item before it
	Dedupe    *Dedupe // nil: no idempotency key
	Body      []byte
	Lost      *Lost // nil: the item is there; else it is a tombstone, with no more than Seq and Mask
}

// Dedupe is what is kept of an idempotency key: 128 bits of the hash of its scope and text, and of the body's.
type Dedupe struct {
	Key  [16]byte
	Body [16]byte
}

// A Mask is the set of queues that an item is for, by number, ascending: those it goes To, and those whose bound
// Dropped it when it was accepted. A mask is immutable.
type Mask struct {
	To      []uint32
	Dropped []uint32
}

// Has reports whether queue is among those that the item goes to.
func (m *Mask) Has(queue uint32) bool {
	_, ok := slices.BinarySearch(m.To, queue)
	return ok
}

// Attrs is an encoded, immutable set of attributes: pairs of uvarint length and bytes, name then value, sorted by name.
// The empty string is the empty set. Two sets are equal if their strings are.
type Attrs string

// MakeAttrs encodes a set.
func MakeAttrs(set map[string]string) Attrs {
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(set)) {
		b = appendString(appendString(b, name), set[name])
	}
	return Attrs(b)
}

// All yields names and values in the order of the names. A damaged tail ends it early.
func (a Attrs) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for rest := string(a); rest != ""; {
			name, after, ok := cutString(rest)
			if !ok {
				return
			}
			value, after, ok := cutString(after)
			if !ok || !yield(name, value) {
				return
			}
			rest = after
		}
	}
}

// Get returns the value of a name, empty where it is missing.
func (a Attrs) Get(name string) string {
	value, _ := a.Lookup(name)
	return value
}

// Lookup returns the value of a name, and whether it is there.
func (a Attrs) Lookup(name string) (value string, found bool) {
	for n, v := range a.All() {
		if n == name {
			return v, true
		}
	}
	return "", false
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// cutString takes one length-prefixed string off the front of s, without copying it.
func cutString(s string) (head, rest string, ok bool) {
	var n uint64
	for i := range min(len(s), 5) {
		c := s[i]
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if s = s[i+1:]; n > uint64(len(s)) {
				return "", "", false
			}
			return s[:n], s[n:], true
		}
	}
	return "", "", false
}
