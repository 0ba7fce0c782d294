package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var logUUID = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// A logBench is a log in a directory of its own, with what was appended.
type logBench struct {
	t     testing.TB
	dir   string
	opts  Options
	log   *segmentLog
	items []Item // everything acked
	snap  snapshot
	known logState
}

func newLog(t testing.TB) *logBench {
	return newLogOf(t, Options{SegmentBytes: 64 << 10, BlockBytes: 4 << 10})
}

func newLogOf(t testing.TB, o Options) *logBench {
	b := &logBench{t: t, dir: t.TempDir(), opts: o, known: logState{Clean: true, OldestNeeded: 1}}
	b.snap.QueueNumber = 3
	b.snap.Sinks = []Sink{liveSink("a", 1, 2, 3)}
	b.open()
	t.Cleanup(func() { b.log.close() })
	return b
}

func (b *logBench) open() *logBench {
	b.t.Helper()
	if err := b.tryOpen(); err != nil {
		b.t.Fatal(err)
	}
	return b
}

func (b *logBench) tryOpen() (err error) {
	if b.log, err = openLog(b.dir, logUUID, b.opts, b.known); err != nil {
		b.log = &segmentLog{}
	}
	// A kill of the process is all that these tests survive: what is flushed when, crashtest looks at.
	b.log.ops.fdatasync = func(*os.File) error { return nil }
	b.log.ops.syncDir = func(*os.File) error { return nil }
	return err
}

// reopen closes and opens again, as after a clean stop or one that was not.
func (b *logBench) reopen(clean bool) *logBench {
	b.t.Helper()
	b.close(clean)
	return b.open()
}

func (b *logBench) close(clean bool) {
	b.known.Clean = clean
	if clean {
		b.known.Highest, b.known.Synced = b.log.next()-1, b.log.synced()
	}
	b.log.close()
}

func (b *logBench) rewriteTail() *logBench {
	b.t.Helper()
	if err := b.log.rewriteTail(b.snap, lendNothing); err != nil {
		b.t.Fatal(err)
	}
	return b
}

func lendNothing(fn func() error) error { return fn() }

// append appends items, which get their seqs here, as one group commit.
func (b *logBench) append(items ...Item) []*Block {
	b.t.Helper()
	blocks, err := b.tryAppend(items...)
	if err != nil {
		b.t.Fatal(err)
	}
	return blocks
}

func (b *logBench) tryAppend(items ...Item) ([]*Block, error) {
	items = b.number(items)
	blocks, err := b.log.append(items, 5000, nil, func() snapshot { return b.snap })
	if err == nil {
		b.items = append(b.items, items...)
	}
	return blocks, err
}

func (b *logBench) number(items []Item) []Item {
	next := b.log.next()
	for i := range items {
		items[i].Seq = next + uint64(i)
		if items[i].Time == 0 {
			items[i].Time = 1_000_000 + int64(items[i].Seq)
		}
	}
	return items
}

// segFull appends group commits of one item until a new segment has begun.
func (b *logBench) segFull() *logBench {
	b.t.Helper()
	for n := len(b.log.segs); len(b.log.segs) <= max(n, 1); {
		b.append(item(1000, maskA))
	}
	return b
}

// segTail appends n group commits of one item.
func (b *logBench) segTail(n int) *logBench {
	b.t.Helper()
	for range n {
		b.append(item(100, maskA))
	}
	return b
}

var (
	maskA  = &Mask{To: []uint32{1}}
	maskB  = &Mask{To: []uint32{2}, Dropped: []uint32{3}}
	maskAB = &Mask{To: []uint32{1, 2}}
)

func item(size int, m *Mask) Item {
	return Item{Mask: m, Body: bytes.Repeat([]byte("x"), size)}
}

// request is n items that belong together.
func request(n, size int, m *Mask) []Item {
	items := make([]Item, n)
	for i := range items {
		items[i] = item(size, m)
		items[i].Body = fmt.Appendf(nil, "%d of %d: %s", i, n, items[i].Body)
		items[i].Continues = i > 0
	}
	return items
}

// read returns everything that a queue's reader finds in the blocks for it.
func (b *logBench) read(queue uint32, from uint64) []Item {
	b.t.Helper()
	items, err := b.tryRead(queue, from)
	if err != nil {
		b.t.Fatal(err)
	}
	return items
}

func (b *logBench) tryRead(queue uint32, from uint64) ([]Item, error) {
	var items []Item
	for r := b.log.reader(queue, from); ; {
		block, err := r.Next()
		if errors.Is(err, io.EOF) {
			return items, nil
		}
		if err != nil {
			return items, err
		}
		for _, it := range block.Items {
			if it.Seq >= from && it.Mask.Has(queue) {
				items = append(items, it)
			}
		}
	}
}

// expect compares what queue 1 and 2 read with what was appended.
func (b *logBench) expect() *logBench {
	b.t.Helper()
	for queue := range uint32(3) {
		var want []Item
		for _, it := range b.items {
			if it.Mask.Has(queue) {
				want = append(want, it)
			}
		}
		if diff := diffOf(want, b.read(queue, 0)); diff != "" {
			b.t.Fatalf("queue %d (-want +got):\n%s", queue, diff)
		}
	}
	return b
}

func (b *logBench) paths() []string {
	paths, err := filepath.Glob(filepath.Join(b.dir, "*.log"))
	if err != nil {
		b.t.Fatal(err)
	}
	return paths
}

// edit changes the bytes of a file.
func edit(t testing.TB, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// fullItem has every optional field.
func fullItem() Item {
	return Item{
		Mask: maskB, Attrs: MakeAttrs(map[string]string{"type": "alarm", "site": "7"}), Key: "pump-1",
		Expires: 9000, NotBefore: math.MaxInt32, Dedupe: &Dedupe{Key: [16]byte{7}, Body: [16]byte{8}}, Body: []byte("full"),
	}
}

// diffOf is cmp.Diff, at once where there is none.
func diffOf(want, got []Item) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return cmp.Diff(want, got)
}
