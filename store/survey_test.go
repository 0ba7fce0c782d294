package store

import (
	"encoding/binary"
	"os"
	"testing"
	"time"
)

// What looks like the headers of blocks, each with tables of half a MiB, costs a search through a damaged segment no more
// than the segment is long, and hides none of its blocks.
func TestForgedHeadersInABodyCostLittle(t *testing.T) {
	b := newLogOf(t, Options{SegmentBytes: 4 << 20, BlockBytes: 4 << 10})
	forged := item(1<<20, maskA)
	for at := 0; at+64 <= len(forged.Body); at += 64 {
		h := forged.Body[at : at+64]
		binary.BigEndian.PutUint32(h, blockMagic)
		h[4], h[5] = codecNone, 0
		binary.BigEndian.PutUint32(h[40:], 1)
		binary.BigEndian.PutUint32(h[44:], 100)
		binary.BigEndian.PutUint32(h[48:], 512<<10)
	}
	b.append(forged)
	b.append(request(4, 200, maskAB)...)
	g := b.log.segs[0]
	edit(t, g.path, func(content []byte) []byte { content[g.start+8] ^= 1; return content })
	f, err := os.Open(g.path)
	equal(t, "error", err, nil)
	defer f.Close()
	s, err := b.log.survey(g, f, g.size, 0)
	equal(t, "error", err, nil)
	if len(s.found) != 1 || s.found[0].First != 2 || s.found[0].Count != 4 {
		t.Errorf("found %+v", s.found)
	}
	if s.spent < 1<<20 || s.spent > 3*g.size {
		t.Errorf("%d bytes were spent on a segment of %d", s.spent, g.size)
	}
}

// Nothing is behind the only item of a block: its body, which may look like items, is not searched.
func TestDamagedItemThatIsAloneCostsNoSearch(t *testing.T) {
	alone := item(1<<20, maskA)
	for at := 0; at+16 <= len(alone.Body); at += 16 { // what may be an item of half a MiB with index 0
		binary.PutUvarint(alone.Body[at:], 512<<10)
		clear(alone.Body[at+3 : at+16])
	}
	b := newLogOf(t, Options{SegmentBytes: 4 << 20, BlockBytes: 4 << 10})
	b.append(alone)
	g := b.log.segs[0]
	edit(t, g.path, func(content []byte) []byte { content[g.size-1] ^= 1; return content })
	f, err := os.Open(g.path)
	equal(t, "error", err, nil)
	defer f.Close()
	s, err := b.log.survey(g, f, g.size, 0)
	equal(t, "error", err, nil)
	equal(t, "blocks", len(s.found), 1)
	block, err := s.load(&s.found[0])
	equal(t, "error", err, nil)
	began := time.Now()
	items, _ := block.salvage()
	equal(t, "items", len(items), 0)
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %v", took)
	}
}
