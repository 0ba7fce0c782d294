package store

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"testing"
)

// Readers that are at about the same place read the disk once, and what is kept for them is bounded.
func TestReadersShareWhatTheyReadFromTheDisk(t *testing.T) {
	t.Parallel()
	const n, size = 80, 60 << 10
	b := newLogOf(t, Options{SegmentBytes: 8 << 20, BlockBytes: 256 << 10})
	for range n {
		b.append(item(size, maskAB))
	}
	b.append(item(size, maskA))
	b.reopen(true)
	var read atomic.Int64
	disk := b.log.ops.pread
	b.log.ops.pread = func(f *os.File, p []byte, off int64) (int, error) {
		read.Add(int64(len(p)))
		return disk(f, p, off)
	}
	ahead, behind := b.log.reader(1, 1), b.log.reader(2, 1)
	next := func(r *Reader, seq int) {
		if block, err := r.Next(); err != nil || block.First != uint64(seq) {
			t.Fatalf("seq %d: %v, %v", seq, block, err)
		}
	}
	for seq := range n {
		next(ahead, seq+1)
		if seq >= 10 {
			next(behind, seq-9)
		}
	}
	if got := read.Load(); got > n*size*3/2 {
		t.Errorf("%d bytes read of %d by two readers", got, n*size)
	}
	next(ahead, n+1)
	for seq := n - 9; seq <= n; seq++ {
		next(behind, seq)
	}
	if _, err := behind.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("what is another queue's alone: %v", err)
	}
	kept := 0
	for _, r := range b.log.recent.blocks {
		kept += r.cost
	}
	if kept < recentBytes/2 || kept > recentBytes || kept != b.log.recent.bytes || len(b.log.recent.order) != len(b.log.recent.blocks) {
		t.Errorf("%d bytes are kept, %d counted, %d blocks, %d in order", kept, b.log.recent.bytes, len(b.log.recent.blocks), len(b.log.recent.order))
	}
}

// Guarantee B6, in part: what a queue has little of is read in a buffer for each block, and few of those are kept.
func TestFewBlocksAreKeptThatStandAlone(t *testing.T) {
	t.Parallel()
	b := newLogOf(t, Options{SegmentBytes: 16 << 20, BlockBytes: 256 << 10})
	for range 40 {
		b.append(item(100, maskB))
		b.append(item(readBytes, maskA))
	}
	b.reopen(true)
	r := b.log.reader(maskB.To[0], 1)
	for range 40 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(b.log.recent.blocks); n == 0 || n > recentBytes/readBytes {
		t.Errorf("%d blocks are kept, each with a buffer", n)
	}
}
