package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"
	"time"
)

func TestASumOfAPartIsItsChecksum(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 1))
	for _, size := range []int{0, 1, stride - 1, stride, stride + 1, 5000, 70_001} {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		s := newSpans(b)
		for range 300 {
			from := rnd.IntN(size + 1)
			to := from + rnd.IntN(size-from+1)
			if got, want := s.sum(9, from, to), crc32.Update(9, castagnoli, b[from:to]); got != want {
				t.Fatalf("%d to %d of %d: %08x, want %08x", from, to, size, got, want)
			}
		}
	}
}

// lookalikes is a block of several items whose bodies look like the beginnings of long ones everywhere, and of which the
// first does not check.
func lookalikes(t *testing.T, blockBytes int) *tornBlock {
	t.Helper()
	e := encoder{blockBytes: blockBytes}
	var items []Item
	body := bytes.Repeat([]byte{0x90, 0x90, 0x20}, 130) // 526,352 bytes long, index 4112
	for i := range blockBytes / 420 {
		items = append(items, Item{Seq: uint64(i) + 1, Mask: maskA, Body: body})
	}
	total := e.plan(items, 1, 0, nil)
	raw, _ := e.encode(items, 1, 0, 7, 0, total)
	h, err := parseBlock(raw, blockMagic)
	equal(t, "error", err, nil)
	b := &tornBlock{header: h, seed: blockSeed(7, 0), tables: raw[blockFixed:][:h.Tables], items: raw[h.headerLen():][:h.ItemsLen]}
	b.items[20]++
	return b
}

// What a producer sent costs no more to look through where a block is damaged than other bytes do.
func TestItemsThatLookLikeMoreCostNoMoreToSalvage(t *testing.T) {
	b := lookalikes(t, 2<<20)
	n := int(b.header.Count)
	if n < 4200 || binary.BigEndian.Uint32(b.items) == 0 {
		t.Fatalf("%d items", n)
	}
	clear(b.items[400 : len(b.items)/2])
	copy(b.items[400:], bytes.Repeat([]byte{0x90, 0x90, 0x20}, len(b.items)/6-200)) // half of it is nothing but lookalikes
	began := time.Now()
	items, _ := b.salvage()
	took := time.Since(began)
	t.Logf("%d of %d items of %d bytes in %v", len(items), n, len(b.items), took)
	if len(items) < n/2-2 {
		t.Errorf("%d of %d items", len(items), n)
	}
	if took > 5*time.Second { // it was 20
		t.Errorf("it took %v", took)
	}
}

// A block of a damaged segment is looked through once by who reads it, however many parts of it are left.
func TestABlockInManyPartsIsLookedThroughOnce(t *testing.T) {
	h := newHealingStore(t)
	h.opts = Options{SegmentBytes: 4 << 20, BlockBytes: 1 << 20, Quarantine: h.opts.Quarantine, Healed: h.opts.Healed}
	h.reopen()
	first, bodies := h.Next(), map[string]bool{}
	var items []Item
	for i := range 8000 {
		seq := first + uint64(i)
		h.bodies[seq] = fmt.Sprintf("item %d: %080d", seq, seq)
		items = append(items, Item{Seq: seq, Time: int64(seq), Mask: maskA, Body: []byte(h.bodies[seq])})
		if i%2 == 0 {
			bodies[h.bodies[seq]] = true
		}
	}
	equal(t, "error", h.Rotate(), nil)
	_, err := h.Append(items, 1, nil)
	equal(t, "error", err, nil)
	path := h.log.active.path
	equal(t, "error", h.Rotate(), nil)
	h.bodies[h.Next()] = "the last"
	_, err = h.Append([]Item{{Seq: h.Next(), Time: 1e6, Mask: maskA, Body: []byte("the last")}}, 1, nil)
	equal(t, "error", err, nil)
	equal(t, "error", h.Seal(), nil)
	edit(t, path, func(b []byte) []byte {
		for body := range bodies {
			b[bytes.Index(b, []byte(body))+20]++
		}
		return b
	})
	h.reopen()
	began := time.Now()
	there, lost, err := h.read(1)
	took := time.Since(began)
	if err != nil || len(lost) != 4000 || len(there) < 4001 || took > 5*time.Second { // it was 20 and more
		t.Errorf("%d there, %d lost, %v, in %v", len(there), len(lost), err, took)
	}
	t.Log(took)
}
