package powerfs

import (
	"maps"
	"slices"
	"syscall"
)

// A file is what a process reads, what the disk has, and how they differ.
type file struct {
	live     []byte
	disk     []byte
	dirty    map[int64]int // sectors that were written → how many shrinks were pending then
	sizes    []resize      // changes of the size that are not durable, in order
	reserved int64         // bytes of space
	kept     int64         // of them, durable
}

// A resize is one change of a file's size.
type resize struct {
	moment uint64 // only of a shrink
	to     int64
	shrink bool
}

func (f *file) shrinks() (n int) {
	for _, s := range f.sizes {
		if s.shrink {
			n++
		}
	}
	return n
}

// write changes what is read. A sector that is written again may have been written back before.
func (d *Disk) write(n *node, off int64, b []byte) syscall.Errno {
	end := off + int64(len(b))
	if errno := d.reserve(n, end); errno != 0 {
		return errno
	}
	pending := n.shrinks()
	for s := off / sector; s*sector < end; s++ {
		if _, again := n.dirty[s]; again && pending == 0 && d.rnd.IntN(8) == 0 {
			n.flush(s)
		}
		n.dirty[s] = pending
	}
	d.grow(n, end)
	copy(n.live[off:], b)
	return 0
}

// grow makes a file at least so long.
func (d *Disk) grow(n *node, size int64) {
	if size <= int64(len(n.live)) {
		return
	}
	n.live = extend(n.live, size)
	n.sizes = append(n.sizes, resize{to: size})
}

// truncate sets the size of a file.
func (d *Disk) truncate(n *node, size int64) syscall.Errno {
	if size > int64(len(n.live)) {
		d.grow(n, size)
		return 0
	}
	d.unreserve(n, size)
	if size == int64(len(n.live)) {
		return 0
	}
	n.live = shrink(n.live, size)
	d.moment++
	n.sizes = append(n.sizes, resize{moment: d.moment, to: size, shrink: true})
	maps.DeleteFunc(n.dirty, func(s int64, _ int) bool { return s*sector >= size })
	return 0
}

// punch makes a range zeros, as if they were written.
func (d *Disk) punch(n *node, off, size int64) syscall.Errno {
	if end := min(off+size, int64(len(n.live))); off < end {
		return d.write(n, off, make([]byte, end-off))
	}
	return 0
}

// sync makes data and size durable.
func (d *Disk) sync(n *node) {
	if n.life != d.life {
		return
	}
	for _, s := range n.sizes {
		n.resize(s.to)
	}
	for s := range n.dirty {
		n.flush(s)
	}
	n.sizes, n.kept = nil, n.reserved
	clear(n.dirty)
}

// failSync forgets that anything is to be written, as Linux does. Sizes are the journal's, and come with a later one.
func (d *Disk) failSync(n *node) {
	if n.life != d.life {
		return
	}
	for _, s := range slices.Sorted(maps.Keys(n.dirty)) {
		if n.shrinks() == 0 && d.rnd.IntN(2) == 0 {
			n.flush(s)
		}
	}
	clear(n.dirty)
}

// flush writes a sector back, as far as the size that is durable goes.
func (f *file) flush(s int64) {
	end := min((s+1)*sector, int64(len(f.disk)), int64(len(f.live)))
	if s*sector < end {
		copy(f.disk[s*sector:end], f.live[s*sector:end])
	}
}

func (f *file) resize(size int64) {
	if size < int64(len(f.disk)) {
		f.disk = shrink(f.disk, size)
	} else {
		f.disk = extend(f.disk, size)
	}
}

// extend makes b longer, with zeros.
func extend(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b
	}
	return slices.Grow(b, int(size)-len(b))[:size]
}

// shrink makes b shorter, and sees to it that extend finds zeros.
func shrink(b []byte, size int64) []byte {
	clear(b[size:])
	return b[:size]
}
