package store

import (
	"slices"
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

// A group commit that leaves less of its last page than one more would take fills it with zeros: else that page is written
// again. What is small enough to follow in the same page does so.
func TestGroupCommitsShareNoPageThatTheyNeedNot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                               string
		body, items, commits, pages, takes int // pages written, and pages that the log has then
	}{
		{"one item of 512 B", 512, 1, 60, 60, 60/6 + 1},
		{"small items fill a page", 100, 1, 200, 210, 200/21 + 2},
		{"groups of 12", 512, 12, 40, 100, 70},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newLog(t)
			b.append(item(10, maskA)) // the segment is there
			before := b.log.pages.Load()
			for range c.commits {
				b.append(slices.Repeat([]Item{item(c.body, maskA)}, c.items)...)
			}
			if got := (b.log.pages.Load() - before) / pageBytes; got > int64(c.pages) {
				t.Errorf("%d pages were written by %d commits, at most %d expected", got, c.commits, c.pages)
			}
			size := int64(0)
			for _, v := range b.log.views() {
				size += v.size
			}
			if size > int64(c.takes)*pageBytes {
				t.Errorf("the log has %d bytes, at most %d pages expected", size, c.takes)
			}
			b.expect().reopen(false).rewriteTail().expect()
			equal(t, "error", b.log.seal(), nil)
			b.reopen(true).expect()
		})
	}
}
