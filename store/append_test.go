package store

import (
	"testing"
)

func TestItemsAreReadAsTheyWereAppended(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	first := fullItem()
	second := item(0, maskA)
	b.append(first)
	b.append(second)
	b.append(append(request(3, 10, maskAB), fullItem(), item(7, maskB))...)
	b.append(item(20<<10, maskA))
	b.expect()
	b.reopen(true).expect()
}

func TestAGroupCommitIsSplitIntoBlocks(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	blocks := b.append(request(100, 200, maskAB)...)
	if len(blocks) < 5 {
		t.Fatalf("%d blocks", len(blocks))
	}
	for i, k := range blocks {
		if k.Group != 1 || k.Size > 4<<10 || (i > 0 && k.First != blocks[i-1].First+uint64(len(blocks[i-1].Items))) {
			t.Errorf("block %d: first %d, group %d, %d bytes", i, k.First, k.Group, k.Size)
		}
	}
	b.expect().reopen(true).expect()
}

func TestSegmentsRotate(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segFull().segFull().segTail(3).expect()
	b.reopen(true).expect()
	if err := b.log.seal(); err != nil {
		t.Fatal(err)
	}
	b.expect().reopen(true).expect()
}

func TestUncleanStopKeepsEverything(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segFull().segTail(3)
	b.append(request(30, 300, maskAB)...)
	for range 3 {
		b.reopen(false)
		b.rewriteTail().expect()
	}
	b.append(fullItem())
	b.expect().reopen(true).expect()
}
