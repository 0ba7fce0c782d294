package store

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// What fsck says of queues.db is within the file, whatever its pages say.
func TestFindingsAreWithinTheFile(t *testing.T) {
	t.Parallel()
	path, content := withBodies(t, 600, 900)
	rnd, page := rand.New(rand.NewPCG(1, 1)), os.Getpagesize()
	var children []int // where branches say which pages are below them
	for id := 2; id < len(content)/page; id++ {
		if h := headOf(content[id*page:]); h.is(uint64(id)) && h.flags == pageBranch {
			for i := range h.count {
				children = append(children, id*page+boltPageHeader+i*pageElement+8)
			}
		}
	}
	for seed := range 150 {
		img := bytes.Clone(content)
		if seed%2 == 0 {
			binary.NativeEndian.PutUint64(img[children[rnd.IntN(len(children))]:], rnd.Uint64()>>rnd.IntN(50))
		}
		for range 1 + rnd.IntN(3) {
			p := img[rnd.IntN(len(img)/page)*page:][:page]
			switch rnd.IntN(3) {
			case 0:
				for i := range p {
					p[i] = byte(rnd.Uint32())
				}
			case 1: // what it has of others
				for i := boltPageHeader; i < 512; i++ {
					p[i] ^= byte(rnd.Uint32())
				}
			default:
				p[rnd.IntN(len(p))] ^= 1 << rnd.IntN(8)
			}
		}
		equal(t, "error", os.WriteFile(path, img, 0o600), nil)
		c := checker{dir: filepath.Dir(path)}
		if err := c.checkQueues(); err != nil {
			t.Fatalf("case %d: %v", seed, err)
		}
		for _, f := range c.findings {
			if f.Offset < -1 || f.Offset >= int64(len(img)) {
				t.Errorf("case %d: %s", seed, f)
			}
		}
		_, tree, err := carve(path, nil)
		if err != nil {
			t.Fatalf("case %d: %v", seed, err)
		}
		for _, id := range tree.badPages() {
			if id >= uint64(len(img)/page) {
				t.Errorf("case %d: page %d of %d", seed, id, len(img)/page)
			}
		}
	}
}
