package store

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func newPackedLog(t testing.TB) *logBench {
	return newLogOf(t, Options{SegmentBytes: 1 << 20, BlockBytes: 256 << 10, Compress: Zstd})
}

// noise does not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(uint64(n), 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// text compresses about as well as the readings of a sensor.
func text(n int) []byte {
	var b []byte
	for i := uint64(0); len(b) < n; i++ {
		b = fmt.Appendf(b, `{"sensor":"pump-%d","reading":%d,"unit":"bar"}`, i%17, i*i%8191)
	}
	return b[:n]
}

func withBody(b []byte, m *Mask) Item { return Item{Mask: m, Body: b} }

// codecs lists those of the blocks of a log.
func codecs(t testing.TB, l *segmentLog) []byte {
	t.Helper()
	var out []byte
	for _, v := range l.views() {
		f, err := v.seg.open()
		equal(t, "error", err, nil)
		r := newBlockReader(v.seg, f, v.size, readBytes)
		for off := v.seg.start; off < v.size; {
			h, err := r.block(off)
			equal(t, "error", err, nil)
			out = append(out, h.Codec)
			off += int64(h.size())
		}
	}
	return out
}

func TestCompressedBlocksAreRead(t *testing.T) {
	b := newPackedLog(t)
	var many []Item
	for i := range 900 { // more than one block, each of several frames
		many = append(many, withBody(text(300+i), maskAB))
		many[i].Attrs = MakeAttrs(map[string]string{"type": "reading", "n": fmt.Sprint(i % 3)})
	}
	for _, group := range [][]Item{
		{withBody(text(3000), maskA)}, {withBody(noise(3000), maskA)}, {withBody([]byte{}, maskB)}, {fullItem()},
		{withBody(text(400<<10), maskAB)}, {withBody(noise(200<<10), maskB)}, many, request(50, 400, maskAB),
		{withBody(text(64<<10), maskA), withBody(noise(100), maskA), fullItem()},
	} {
		for _, block := range b.append(group...) {
			for i := range block.Items {
				equal(t, "seq", block.Items[i].Seq, block.First+uint64(i))
			}
			at := int(block.First - 1)
			if diff := diffOf(b.items[at:at+len(block.Items)], block.Items); diff != "" {
				t.Fatalf("what Append returned (-want +got):\n%s", diff)
			}
		}
	}
	got := codecs(t, b.log)
	if !slices.Contains(got, codecNone) || !slices.Contains(got, codecZstd) {
		t.Fatalf("codecs %v", got)
	}
	for i, clean := range []bool{true, false, true, false} {
		b.opts.Compress = Compression(i / 2) // written one way, opened the other way
		if b.reopen(clean); !clean {
			b.rewriteTail()
		}
		b.expect()
		b.append(withBody(text(5000), maskAB))
	}
	equal(t, "error", b.log.seal(), nil)
	b.expect()
	for _, want := range b.items {
		got, err := b.log.item(want.Seq)
		equal(t, "error", err, nil)
		if diff := diffOf([]Item{want}, []Item{got}); diff != "" {
			t.Fatalf("item %d (-want +got):\n%s", want.Seq, diff)
		}
	}
}

func TestCompressionSavesDisk(t *testing.T) {
	var sizes [2]int64
	for c := range sizes {
		b := newLogOf(t, Options{SegmentBytes: 8 << 20, BlockBytes: 256 << 10, Compress: Compression(c)})
		var items []Item
		for range 1000 {
			items = append(items, withBody(text(500), maskAB))
		}
		b.append(items...)
		sizes[c] = b.log.active.size
	}
	if sizes[1] > sizes[0]/4 {
		t.Fatalf("%d bytes compressed, %d not", sizes[1], sizes[0])
	}
}

// A torn frame costs the requests in it and no other: of the last group commit everything else is kept.
// Guarantee G2, in part.
func TestATornFrameCostsOnlyItsRequests(t *testing.T) {
	for at := range 60 {
		b := newPackedLog(t)
		b.append(item(100, maskA))
		var group []Item
		for i := range 450 { // one block of four frames
			group = append(group, withBody(append(noise(200+i), text(300)...), maskA))
		}
		start := b.log.active.size
		b.append(group...)
		end := b.log.active.size
		path := b.log.active.path
		b.close(false)
		off := start + (end-start)*int64(at)/60
		edit(t, path, func(f []byte) []byte {
			clear(f[off : off+min(512, end-off)])
			return f
		})
		b.known.Synced = 2
		equal(t, "error", b.tryOpen(), nil)
		b.rewriteTail()
		tail := b.log.tail
		if tail.Kept+tail.Unconfirmed != len(group) || tail.Kept < len(group)/3 {
			t.Fatalf("damage at %d of %d: %+v", off-start, end-start, tail)
		}
		got := b.read(1, 2)
		equal(t, "read", len(got), tail.Kept)
		for _, it := range got {
			if diff := diffOf(b.items[it.Seq-1:it.Seq], []Item{it}); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
		}
	}
}

// Whatever byte of a compressed block is damaged, no wrong item is read, and those of other frames are.
// Guarantee G6, in part.
func TestNoDamageOfACompressedBlockIsReadAsAnItem(t *testing.T) {
	b := newPackedLog(t)
	for range 3 {
		var group []Item
		for range 200 {
			group = append(group, withBody(append(noise(100), text(900)...), maskA))
		}
		b.append(group...)
	}
	b.append(item(1, maskA))
	b.close(true)
	path := b.paths()[0]
	whole, err := os.ReadFile(path)
	equal(t, "error", err, nil)
	size := int64(len(bytes.TrimRight(whole, "\x00")))
	rapid.Check(t, func(rt *rapid.T) {
		off := rapid.Int64Range(512, size-1).Draw(rt, "offset")
		bad := bytes.Clone(whole)
		bad[off] ^= byte(rapid.IntRange(1, 255).Draw(rt, "bits"))
		equal(rt, "error", os.WriteFile(path, bad, 0o600), nil)
		if b.tryOpen() != nil {
			return
		}
		defer b.log.close()
		for _, seq := range []uint64{1, 150, 200, 201, 400, 600, 601} {
			it, err := b.log.item(seq)
			if err == nil {
				if diff := diffOf(b.items[seq-1:seq], []Item{it}); diff != "" {
					rt.Fatalf("(-want +got):\n%s", diff)
				}
			} else if d, ok := errors.AsType[*DamageError](err); !ok || d.Offset < 512 || d.Offset > off {
				rt.Fatalf("byte %d: item %d: %v", off, seq, err)
			}
		}
	})
}

// Segments with compressed blocks are read for ever. How well a library compresses is not part of the format, so what is
// written today is not compared.
func TestCompressedLogOfFormat1IsRead(t *testing.T) {
	golden := filepath.Join("testdata", "v1.1-zstd")
	made := newPackedLog(t)
	var group []Item
	for i := range 300 {
		group = append(group, withBody(text(400+i%50), maskAB))
	}
	made.append(append(group, fullItem())...)
	made.append(withBody(noise(300), maskA))
	made.append(withBody(text(70<<10), maskB))
	made.log.rotateNext()
	made.append(withBody(text(1000), maskA))
	equal(t, "error", made.log.seal(), nil)
	made.close(true)
	if *update {
		for _, path := range made.paths() {
			b, err := os.ReadFile(path)
			equal(t, "error", err, nil)
			equal(t, "error", os.MkdirAll(golden, 0o755), nil)
			equal(t, "error", os.WriteFile(filepath.Join(golden, filepath.Base(path)), bytes.TrimRight(b, "\x00"), 0o644), nil)
		}
	}
	old := newLog(t)
	old.log.close()
	equal(t, "error", os.CopyFS(old.dir, os.DirFS(golden)), nil)
	old.items, old.known = made.items, logState{Clean: true, Synced: made.known.Synced, Highest: made.known.Highest, OldestNeeded: 1}
	old.open().expect()
	equal(t, "codecs", codecs(t, old.log), []byte{codecZstd, codecNone, codecZstd, codecZstd})
}

// FuzzFrames decodes a compressed block with its checksums put right: it never takes more than 64 KiB for a frame.
func FuzzFrames(f *testing.F) {
	c, err := newCompressor(Zstd)
	if err != nil {
		f.Fatal(err)
	}
	_, frames := c.compress(text(50000), 7)
	f.Add(frames, uint32(50000), uint32(60))
	f.Add(append(frames, frames...), uint32(100000), uint32(len(frames)))
	f.Fuzz(func(t *testing.T, b []byte, length, first uint32) {
		first = min(first, uint32(len(b)))
		length %= 2*frameBytes + 1
		d := decoder{plainLen: int(length), frames: []frame{{first, crc32.Update(7, castagnoli, b[:first])}}}
		if length > frameBytes {
			d.frames = append(d.frames, frame{uint32(len(b)) - first, crc32.Update(7, castagnoli, b[first:])})
		}
		bounded(t, b, func(b []byte) {
			plain, _, err := d.plain(&blockHeader{Codec: codecZstd}, b, 7)
			if len(plain) != int(length) {
				t.Fatalf("%d bytes, %v", len(plain), err)
			}
		})
	})
}

// BenchmarkAppendPacked and BenchmarkReadPacked are BenchmarkAppend and BenchmarkRead of text, with and without zstd.
func BenchmarkAppendPacked(b *testing.B) {
	for c, name := range []string{"none", "zstd"} {
		b.Run(name, func(b *testing.B) {
			l := newLogOf(b, Options{SegmentBytes: 64 << 20, Compress: Compression(c), BlockBytes: 256 << 10})
			l.log.ops.fdatasync = func(*os.File) error { return nil }
			items := benchItems(512)
			for i := range items {
				items[i].Body = text(512)
			}
			for b.Loop() {
				l.number(items)
				if _, err := l.log.append(items, 1, nil, func() snapshot { return l.snap }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*512)/b.Elapsed().Seconds(), "items/s")
			b.ReportMetric(float64(l.log.written())/float64(b.N*512), "written/item")
		})
	}
}
