package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

const sector = 512

// A tornBench is a log whose last group commit can be put on the disk in part.
type tornBench struct {
	*logBench
	path    string
	whole   []byte // the file with the last group commit
	from    int64  // where that begins
	to      int64
	acked   []Item // before it
	last    []Item
	ranges  [][2]int // of the bytes of each of last
	headers [][2]int // of the header of the block that each is in
	copies  [][2]int // of its copy; empty: none
}

func newTorn(t *testing.T) *tornBench {
	b := &tornBench{logBench: newLog(t)}
	b.segTail(3)
	b.acked = b.items
	b.from = b.log.active.size
	var items []Item
	for _, n := range []int{1, 3, 40, 1, 1, 2} {
		items = append(items, request(n, 170, maskAB)...)
	}
	items = append(items, item(9000, maskA))
	blocks := b.append(items...)
	b.last = items
	b.path = b.log.active.path
	b.to = b.log.active.size - int64(b.log.enc.plans[len(blocks)-1].header.Pad)
	b.note(blocks)
	b.close(false)
	var err error
	if b.whole, err = os.ReadFile(b.path); err != nil {
		t.Fatal(err)
	}
	return b
}

// note writes down where everything of the last group commit stands.
func (b *tornBench) note(blocks []*Block) {
	off := int(b.from)
	for i := range blocks {
		p := &b.log.enc.plans[i]
		at := off + p.header.headerLen()
		end := at + int(p.header.ItemsLen)
		for j := range blocks[i].Items {
			n := int(b.log.enc.sizes[p.from+j].size)
			n += uvarintLen(uint64(n)) + 4
			b.ranges = append(b.ranges, [2]int{at, at + n})
			b.headers = append(b.headers, [2]int{off, off + p.header.headerLen()})
			b.copies = append(b.copies, [2]int{end, off + p.header.size() - int(p.header.Pad)})
			at += n
		}
		off += p.header.size()
	}
}

// image is the file with those sectors of the last group commit zeroed for which keep is false.
func (b *tornBench) image(keep func(sector int64) bool) []byte {
	img := bytes.Clone(b.whole)
	for s := b.from / sector; s*sector < b.to; s++ {
		if keep(s) {
			continue
		}
		for i := max(b.from, s*sector); i < min(b.to, (s+1)*sector); i++ {
			img[i] = 0
		}
	}
	return img
}

// survivors are the requests of which every item, and its block's header or the copy, is in the image.
func (b *tornBench) survivors(img []byte) []Item {
	same := func(r [2]int) bool {
		return r[1] <= len(img) && bytes.Equal(img[r[0]:r[1]], b.whole[r[0]:r[1]])
	}
	var out []Item
	for i := 0; i < len(b.last); {
		j, ok := i, true
		for ; j == i || (j < len(b.last) && b.last[j].Continues); j++ {
			c := b.copies[j]
			ok = ok && same(b.ranges[j]) && (same(b.headers[j]) || (c[1] > c[0] && same(c)))
		}
		if ok {
			out = append(out, b.last[i:j]...)
		}
		i = j
	}
	return out
}

// check opens an image, rewrites the tail twice with a crash in between, and compares.
func (b *tornBench) check(name string, img []byte) {
	b.t.Helper()
	for _, path := range b.paths() {
		os.Remove(path)
	}
	if err := os.WriteFile(b.path, img, 0o600); err != nil {
		b.t.Fatal(err)
	}
	want := append(append([]Item(nil), b.acked...), b.survivors(img)...)
	b.known = logState{Synced: b.acked[len(b.acked)-1].Seq + 1, OldestNeeded: 1}
	for round := range 2 {
		if err := b.tryOpen(); err != nil {
			b.t.Fatalf("%s, round %d: %v", name, round, err)
		}
		tail := b.log.tail
		b.rewriteTail()
		if diff := diffOf(want, b.read(1, 0)); diff != "" {
			b.t.Fatalf("%s, round %d (-want +got):\n%s", name, round, diff)
		}
		if got := b.log.accepted[1]; got != tallyOf(want, 1) {
			b.t.Fatalf("%s: accepted %v, want %v", name, got, tallyOf(want, 1))
		}
		if tail.Lost != 0 || (round == 0 && tail.Kept+tail.Unconfirmed > len(b.last)) {
			b.t.Fatalf("%s: %+v", name, tail)
		}
		b.known.Highest = b.log.next() - 1
		b.log.close()
	}
}

func tallyOf(items []Item, queue uint32) (t Tally) {
	for _, it := range items {
		if it.Mask.Has(queue) {
			t = t.Add(Tally{1, int64(len(it.Body))})
		}
	}
	return t
}

// Guarantees A1, G2, in part: the log after a power cut in a group commit.
func TestTornGroupCommitKeepsWholeRequests(t *testing.T) {
	t.Parallel()
	b := newTorn(t)
	first, n := b.from/sector, (b.to-1)/sector-b.from/sector+1
	for i := range n + 1 {
		b.check(fmt.Sprintf("the first %d sectors", i), b.image(func(s int64) bool { return s < first+i }))
		b.check(fmt.Sprintf("all but the first %d sectors", i), b.image(func(s int64) bool { return s >= first+i }))
		b.check(fmt.Sprintf("only sector %d", i), b.image(func(s int64) bool { return s == first+i }))
		b.check(fmt.Sprintf("all but sector %d", i), b.image(func(s int64) bool { return s != first+i }))
		b.check(fmt.Sprintf("cut after sector %d", i), b.whole[:min(b.to, max(b.from, (first+i)*sector))])
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		p := rnd.Float64()
		b.check(fmt.Sprintf("random subset %d", i), b.image(func(int64) bool { return rnd.Float64() < p }))
	}
}

func TestSeqsOfATornGroupAreNotGivenAgain(t *testing.T) {
	t.Parallel()
	b := newTorn(t)
	lastSeq := b.last[len(b.last)-1].Seq
	gone := (b.ranges[len(b.ranges)-1][1] - 10) / sector
	img := b.image(func(s int64) bool { return s != int64(gone) })
	if err := os.WriteFile(b.path, img, 0o600); err != nil {
		t.Fatal(err)
	}
	b.open().rewriteTail()
	if got := b.log.next(); got != lastSeq+1 {
		t.Fatalf("next is %d after %d", got, lastSeq)
	}
	b.items = append(b.acked, b.survivors(img)...)
	b.append(item(1, maskA))
	b.expect().reopen(true).expect().reopen(false).rewriteTail().expect()
}

func TestNextIsAboveWhatTheQueuesKnow(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(3)
	b.close(true)
	b.known.Highest = 41
	b.open()
	if got := b.log.next(); got != 42 {
		t.Fatal(got)
	}
	b.append(item(1, maskA))
	if b.expect(); b.items[3].Seq != 42 {
		t.Fatal(b.items[3].Seq)
	}
	b.reopen(true).expect()
	b.reopen(false).rewriteTail().expect()
	if _, err := b.log.item(20); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestTornFirstGroupBehindAGapIsNoDamage(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(1)
	b.close(true)
	b.known.Highest = 41
	b.open()
	acked := b.items
	b.append(request(100, 100, maskA)...)
	g := b.log.active
	b.close(false)
	edit(t, g.path, func(img []byte) []byte {
		clear(img[g.start : g.start+200])
		return img
	})
	b.items = acked
	b.open().rewriteTail().expect()
}

func TestAppendBeforeRewriteTailPanics(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(1).reopen(false)
	defer func() {
		if recover() == nil {
			t.Error("it did not")
		}
	}()
	b.append(item(1, maskA))
}

func TestZerosWhereTheLogWasDurableAreDamage(t *testing.T) {
	t.Parallel()
	for _, clean := range []bool{true, false} {
		b := newLog(t)
		b.segTail(2)
		size := b.log.active.size
		b.segTail(2)
		b.known.Synced = b.log.synced()
		path := b.log.active.path
		b.close(clean)
		edit(t, path, func(img []byte) []byte { clear(img[size:]); return img })
		expectDamage(t, b.tryOpen(), path, size)
	}
}

func TestAnythingBehindTheLogAfterACleanStopIsDamage(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(2)
	size, path := b.log.active.size, b.log.active.path
	b.close(true)
	edit(t, path, func(img []byte) []byte { img[size+5000] = 1; return img })
	expectDamage(t, b.tryOpen(), path, size)
}

func TestAppendsGoToANewSegmentAfterAnUncleanStop(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(1)
	start, path := b.log.active.start, b.log.active.path
	b.close(false)
	edit(t, path, func(img []byte) []byte { clear(img[start:]); return img })
	b.items = nil
	b.open().rewriteTail()
	b.append(item(1, maskA))
	if b.expect(); len(b.paths()) != 2 {
		t.Error(b.paths())
	}
}

func TestDamagedItemThatWasDurableIsDamageOfTheTail(t *testing.T) {
	t.Parallel()
	b := newTorn(t)
	b.known.Synced = b.last[0].Seq + 5
	edit(t, b.path, func(img []byte) []byte { img[b.ranges[2][1]-1]++; return img })
	expectDamage(t, b.tryOpen(), b.path, b.from)
	b.known.Synced = b.last[0].Seq + 1
	b.open()
	if got := b.log.tail.Unconfirmed; got != 3 {
		t.Error(got)
	}
}

func TestDamageBeforeTheLastGroupIsRefused(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	var starts []int64
	for range 5 {
		starts = append(starts, b.log.segsSize())
		b.append(item(600, maskA))
	}
	path := b.log.active.path
	b.close(false)
	whole, _ := os.ReadFile(path)
	for _, off := range starts[1:4] {
		edit(t, path, func([]byte) []byte { img := bytes.Clone(whole); clear(img[off : off+60]); return img })
		expectDamage(t, b.tryOpen(), path, off)
	}
	edit(t, path, func([]byte) []byte { img := bytes.Clone(whole); clear(img[starts[4] : starts[4]+60]); return img })
	b.items = b.items[:4]
	b.open().rewriteTail().expect()
}

func (l *segmentLog) segsSize() int64 {
	if l.active == nil {
		return 0
	}
	return l.active.size
}

func TestPayloadThatLooksLikeABlockIsNotTakenForOne(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(1)
	whole, _ := os.ReadFile(b.log.active.path)
	block := bytes.Clone(whole[b.log.active.start:b.log.active.size])
	b.append(item(10, maskA))
	decoy := item(0, maskA)
	decoy.Body = bytes.Repeat(block, 5)
	acked := b.items
	from := b.log.active.size
	b.append(decoy)
	path := b.log.active.path
	b.close(false)
	edit(t, path, func(img []byte) []byte { clear(img[from : from+20]); return img })
	b.items = acked
	b.open().rewriteTail().expect()
	if b.log.next() != 3 {
		t.Error(b.log.next())
	}
}

func TestRewriteThatCrashedBeforeTheRenameIsRepeated(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	b.segTail(4).reopen(false)
	b.log.ops.rename = func(string, string, string) error { return errors.New("crash") }
	if err := b.log.rewriteTail(b.snap, lendNothing); err == nil {
		t.Fatal("no error")
	}
	if _, err := os.Stat(filepath.Join(b.dir, spareName)); err != nil {
		t.Fatal(err)
	}
	b.known.Clean = false
	b.log.close()
	b.open().rewriteTail().expect()
	b.append(item(3, maskB))
	b.expect()
}

func TestPositionsOfATornGroupAreForgotten(t *testing.T) {
	t.Parallel()
	b := newLog(t)
	put := func(position string, items ...Item) {
		b.number(items)
		if _, err := b.log.append(items, 1, map[string][]byte{"tail": []byte(position)}, func() snapshot { return b.snap }); err != nil {
			t.Fatal(err)
		}
	}
	put("10", item(100, maskA))
	put("20", item(100, maskA), item(100, maskA))
	size, path := b.log.active.size, b.log.active.path
	b.reopen(false).rewriteTail()
	if got := string(b.log.positions["tail"]); got != "20" {
		t.Errorf("whole: %q", got)
	}
	b.log.close()
	os.Remove(b.paths()[1])
	edit(t, path, func(img []byte) []byte { img[size-150]++; return img })
	b.open().rewriteTail()
	if got := string(b.log.positions["tail"]); got != "10" {
		t.Errorf("torn: %q", got)
	}
}

func expectDamage(t *testing.T, err error, path string, off int64) {
	t.Helper()
	d, ok := errors.AsType[*DamageError](err)
	if !ok || d.Path != path || d.Offset != off {
		t.Errorf("got %v, want damage of %s at %d", err, path, off)
	}
}
