package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkAppend appends group commits of n items of 512 B. The floor writes as many bytes into a file that was
// allocated, and flushes them.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 64, 2048} {
		b.Run(fmt.Sprintf("log/%d", n), func(b *testing.B) { benchAppend(b, n) })
		b.Run(fmt.Sprintf("floor/%d", n), func(b *testing.B) { benchFloor(b, n) })
	}
}

func benchItems(n int) []Item {
	items := make([]Item, n)
	attrs := MakeAttrs(map[string]string{"type": "reading", "site": "7"})
	for i := range items {
		items[i] = item(512, maskAB)
		items[i].Attrs = attrs
	}
	return items
}

func benchAppend(b *testing.B, n int) {
	l := newLogOf(b, Options{SegmentBytes: 64 << 20, BlockBytes: 256 << 10})
	items := benchItems(n)
	b.ReportAllocs()
	for b.Loop() {
		l.number(items)
		if _, err := l.log.append(items, 1, nil, func() snapshot { return l.snap }); err != nil {
			b.Fatal(err)
		}
		if l.log.active.size > 32<<20 {
			if err := l.log.prepare(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "items/s")
	b.ReportMetric(float64(l.log.written())/float64(b.N*n), "written/item")
}

func benchFloor(b *testing.B, n int) {
	f, err := os.Create(filepath.Join(b.TempDir(), "floor"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	buf, off := make([]byte, n*512), int64(0)
	for b.Loop() {
		if off%(64<<20) == 0 || off/(64<<20) != (off+int64(len(buf)))/(64<<20) {
			if err := allocate(f, off, 64<<20+int64(len(buf)), false); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := f.WriteAt(buf, off); err != nil {
			b.Fatal(err)
		}
		if err := fdatasync(f); err != nil {
			b.Fatal(err)
		}
		off += int64(len(buf))
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "items/s")
}

// BenchmarkRead reads 256 Ki items of 512 B from the page cache, written in group commits of n.
func BenchmarkRead(b *testing.B) {
	for _, n := range []int{64, 2048} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchRead(b, n) })
	}
}

func benchRead(b *testing.B, n int) {
	l := newLogOf(b, Options{SegmentBytes: 64 << 20, BlockBytes: 256 << 10})
	l.log.ops.fdatasync = func(*os.File) error { return nil }
	const total = 1 << 18
	items := benchItems(n)
	for range total / n {
		l.number(items)
		if _, err := l.log.append(items, 1, nil, func() snapshot { return l.snap }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		read := 0
		for r := l.log.reader(1, 1); ; {
			block, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			read += len(block.Items)
		}
		if read != total {
			b.Fatal(read)
		}
	}
	b.ReportMetric(float64(b.N)*total/b.Elapsed().Seconds(), "items/s")
}

// BenchmarkEncode encodes a group commit of 2,048 items, without a disk.
func BenchmarkEncode(b *testing.B) {
	items := benchItems(2048)
	for i := range items {
		items[i].Seq = uint64(i + 1)
		items[i].Time = int64(i)
	}
	e := encoder{blockBytes: 256 << 10}
	b.ReportAllocs()
	for b.Loop() {
		total := e.plan(items, 1, 0, nil)
		if buf, _ := e.encode(items, 1, 0, 7, 512, total); len(buf) != total {
			b.Fatal(len(buf), total)
		}
	}
	b.ReportMetric(float64(b.N)*2048/b.Elapsed().Seconds(), "items/s")
}
