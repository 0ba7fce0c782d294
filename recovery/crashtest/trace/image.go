package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// An Image is a directory as a power cut could leave it.
type Image struct {
	Dirs  []string // sorted
	Files map[string][]byte
}

// Image makes the state of a choice.
func (p *Pending) Image(c Choice) Image {
	im := Image{Files: map[string][]byte{}}
	p.place(&im, p.root, ".", c)
	slices.Sort(im.Dirs)
	return im
}

// place puts a directory into an image.
func (p *Pending) place(im *Image, dir *node, at string, c Choice) {
	im.Dirs = append(im.Dirs, at)
	names := p.nodes[dir].names(c)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n, full := names[name], path.Join(at, name)
		if n.dir {
			p.place(im, n, full, c)
			continue
		}
		f := p.nodes[n]
		im.Files[full] = content(f.base, f.changes, c.there, c.lag)
	}
}

// names are those of a choice. What was done to a name comes after what was done to it before: that is there too.
func (f *frozen) names(c Choice) map[string]*node {
	if len(f.moves) == 0 {
		return f.durable
	}
	there := make([]bool, len(f.moves))
	for i, m := range slices.Backward(f.moves) {
		there[i] = there[i] || c.there[m.n][0]
		for j := range i {
			there[j] = there[j] || there[i] && m.touches(f.moves[j])
		}
	}
	names := maps.Clone(f.durable)
	for i, m := range f.moves {
		if there[i] {
			m.apply(names)
		}
	}
	return names
}

// touches reports whether two moves are about the same name.
func (m *move) touches(o *move) bool {
	for _, a := range []string{m.from, m.to} {
		if a != "" && (a == o.from || a == o.to) {
			return true
		}
	}
	return false
}

// wholly is a file with all changes.
func wholly(base []byte, changes []*change) []byte { return content(base, changes, nil, nil) }

// content is a file with the changes that are there; there is nil: all are. Where a later change of a sector is there,
// those before it are as well: the sector was written with all of them in it.
func content(base []byte, changes []*change, there map[int][]bool, lag *rand.Rand) []byte {
	if len(changes) == 0 {
		return base
	}
	is := func(c *change, part int) bool { return there == nil || there[c.n][part] }
	most := int64(len(base))
	for _, c := range changes {
		most = max(most, c.off+int64(len(c.data)))
	}
	newest := make([]int, (most+sector-1)/sector) // by sector: the last change that is there, plus one
	size := int64(len(base))
	for i, c := range changes {
		size = c.mark(newest, i+1, size, is)
	}
	b := make([]byte, most)
	copy(b, base)
	for i, c := range changes {
		c.apply(b, newest, i+1)
	}
	if grown := size - int64(len(base)); lag != nil && grown > 0 && lag.IntN(2) == 0 {
		size = int64(len(base)) + min(grown, lag.Int64N(grown/sector+1)*sector)
	}
	return b[:size:size]
}

// mark notes in which sectors a change is there, and returns the size that follows from it.
func (c *change) mark(newest []int, as int, size int64, is func(*change, int) bool) int64 {
	switch c.kind {
	case Extend:
		if is(c, 0) {
			size = max(size, c.off)
		}
	case Resize:
		if is(c, 0) {
			for s := c.off / sector; s < int64(len(newest)); s++ {
				newest[s] = as
			}
			size = c.off
		}
	default:
		end := c.off + int64(len(c.data))
		for k := range c.parts() {
			if s := c.off/sector + int64(k); len(c.data) > 0 && is(c, k) {
				newest[s] = as
				size = max(size, min(end, (s+1)*sector))
			}
		}
	}
	return size
}

// apply makes the change in the sectors that have it, or a later one.
func (c *change) apply(b []byte, newest []int, as int) {
	switch c.kind {
	case Resize:
		for s := c.off / sector; s < int64(len(newest)); s++ {
			if newest[s] >= as {
				clear(b[max(c.off, s*sector):min(int64(len(b)), (s+1)*sector)])
			}
		}
	case Write:
		end := c.off + int64(len(c.data))
		for s := c.off / sector; s*sector < end; s++ {
			if newest[s] >= as {
				from, to := max(c.off, s*sector), min(end, (s+1)*sector)
				copy(b[from:to], c.data[from-c.off:to-c.off])
			}
		}
	}
}

// Sum tells images apart that were summed with the same seed.
func (im Image) Sum(seed maphash.Seed) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, dir := range im.Dirs {
		_, _ = h.WriteString(dir + "\x00")
	}
	for _, name := range slices.Sorted(maps.Keys(im.Files)) {
		_, _ = h.WriteString(name)
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(im.Files[name]))))
		_, _ = h.Write(im.Files[name])
	}
	return h.Sum64()
}

// WriteTo makes the image in a directory, which it empties first.
func (im Image) WriteTo(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for _, sub := range im.Dirs {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	for name, content := range im.Files {
		if err := writeSparse(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	return nil
}

// writeSparse leaves the zeros at the end to the file system.
func writeSparse(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(bytes.TrimRight(content, "\x00"))
	return errors.Join(err, f.Truncate(int64(len(content))), f.Close())
}
