package store

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"
)

// withBodies is a queues.db with so many bodies outside the log, of a size each.
func withBodies(t *testing.T, n, size int) (path string, content []byte) {
	t.Helper()
	dir := newQueuesDir(t)
	q := openTestQueues(t, dir)
	c := Change{QueueTime: 1, Sinks: []Sink{liveSink("a", 1)}}
	qc := QueueChange{Number: 1, Cursor: uint64(n) + 1}
	for seq := uint64(1); seq <= uint64(n); seq++ {
		c.Bodies = append(c.Bodies, Body{Item: Item{Seq: seq, Mask: &Mask{To: []uint32{1}}, Body: bytes.Repeat([]byte{byte(seq)}, size)}})
		qc.Rows = append(qc.Rows, Row{Seq: seq, State: RowReady, Owes: true, Bytes: int64(size)})
	}
	c.Queues = []QueueChange{qc}
	mustCommit(t, q, c)
	path = q.path
	equal(t, "error", q.close(), nil)
	content, err := os.ReadFile(path)
	equal(t, "error", err, nil)
	return path, content
}

// savedOf returns how many bodies, and how many rows, are carved of a damaged file as current, and where the tree is broken.
func savedOf(t *testing.T, path string, content []byte) (bodies, rows, lost int) {
	t.Helper()
	equal(t, "error", os.WriteFile(path, content, 0o600), nil)
	found, tree, err := carve(path, []uint32{1})
	equal(t, "error", err, nil)
	for _, b := range found.bodies {
		if b.current() {
			bodies++
		}
	}
	for _, r := range found.queue(1).rows {
		if r.current() {
			rows++
		}
	}
	return bodies, rows, len(tree.lost)
}

// Guarantee G6, in part: a bit of a page's overflow does not swallow the pages behind it, nor what is in the page.
func TestAFlippedBitOfAnOverflowLosesNothing(t *testing.T) {
	const n = 40
	path, content := withBodies(t, n, 9000)
	page, runs := os.Getpagesize(), 0
	for id := 2; id < len(content)/page; id++ {
		h := headOf(content[id*page:])
		if !h.is(uint64(id)) || h.flags == pageFreelist {
			continue
		}
		runs++
		for _, bit := range []int{0, 1, 3, 5, 6, 20, 31} {
			hurt := bytes.Clone(content)
			hurt[id*page+12+bit/8] ^= 1 << (bit % 8)
			if bodies, rows, lost := savedOf(t, path, hurt); bodies != n || rows != n || lost > 0 {
				t.Errorf("page %d, bit %d of its overflow: %d bodies and %d rows of %d are carved, %d ranges lost", id, bit, bodies, rows, n, lost)
			}
		}
	}
	if runs < n/2 {
		t.Fatalf("%d runs of pages: the test proves nothing", runs)
	}
}

// Guarantee G6, in part: what was read to guess a root is not missing when the pages are looked through.
func TestGuessingARootTakesNothingFromTheBodies(t *testing.T) {
	const n, size = 100, 100_000
	path, content := withBodies(t, n, size)
	clear(content[:2*os.Getpagesize()])
	at := bytes.LastIndex(content, bytes.Repeat([]byte{n / 2}, size))
	if at < 0 {
		t.Fatal("no body")
	}
	content[at+size/2] ^= 1
	content = withRoots(content, guessMost)
	equal(t, "error", os.WriteFile(path, content, 0o600), nil)
	found, _, err := carve(path, []uint32{1})
	equal(t, "error", err, nil)
	equal(t, "bodies", len(found.bodies), n-1)
}

// withRoots adds copies of a root, as older commits leave them on free pages.
func withRoots(content []byte, n int) []byte {
	page := os.Getpagesize()
	for id := len(content)/page - 1; id > 1; id-- {
		root := bytes.Clone(content[id*page : (id+1)*page])
		if h := headOf(root); !h.is(uint64(id)) || h.flags != pageLeaf || h.count != 5 || !bytes.Contains(root, bucketBodies) {
			continue
		}
		for range n {
			binary.NativeEndian.PutUint64(root, uint64(len(content)/page))
			content = append(content, root...)
		}
		break
	}
	return content
}

// The bytes of a body whose page is damaged may look like pages: they are not taken for something in use.
func TestInsideOfADamagedBodyIsNotCurrent(t *testing.T) {
	path, _ := withBodies(t, 1, 9*os.Getpagesize())
	found, _, err := carve(path, []uint32{1})
	equal(t, "error", err, nil)
	ref := found.bodies[bodyPlace{1, 0}].v
	forgeBody(t, path, ref)
	content, err := os.ReadFile(path)
	equal(t, "error", err, nil)
	head := int(ref.at) / os.Getpagesize() * os.Getpagesize()
	size := content[head+boltPageHeader+12 : head+boltPageHeader+16]
	equal(t, "length", int64(binary.NativeEndian.Uint32(size)), ref.size)
	binary.NativeEndian.PutUint32(size, uint32(os.Getpagesize()))
	equal(t, "error", os.WriteFile(path, content, 0o600), nil)
	found, tree, err := carve(path, []uint32{1})
	equal(t, "error", err, nil)
	if found.queues[1].cursor.rank != linked || found.queues[1].cursor.v != 2 {
		t.Errorf("%+v", found.queues[1].cursor)
	}
	equal(t, "bodies", len(found.bodies), 0)
	c := &carver{tree: tree, known: true}
	equal(t, "inside", c.rankOf(uint64(head/os.Getpagesize())+5), stale)
}
