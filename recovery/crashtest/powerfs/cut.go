package powerfs

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"path"
	"slices"
)

// A Loss is what a Cut found that was not durable, and how much of it is on the disk.
type Loss struct {
	Sectors, SectorsKept int
	Sizes, SizesKept     int
	Names, NamesKept     int
}

func (l Loss) String() string {
	return fmt.Sprintf("kept %d of %d sectors, %d of %d sizes, %d of %d names", l.SectorsKept, l.Sectors, l.SizesKept, l.Sizes, l.NamesKept, l.Names)
}

// Add sums up.
func (l *Loss) Add(o Loss) {
	l.Sectors, l.SectorsKept = l.Sectors+o.Sectors, l.SectorsKept+o.SectorsKept
	l.Sizes, l.SizesKept = l.Sizes+o.Sizes, l.SizesKept+o.SizesKept
	l.Names, l.NamesKept = l.Names+o.Names, l.NamesKept+o.NamesKept
}

// Cut takes the power away: what is not durable is kept with the probability p, as the package comment has it. The disk
// is dark afterwards: calls of before go on for nothing, and On shows what is left. seed decides alone, given the same
// state.
func (d *Disk) Cut(seed uint64, p float64) Loss {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &cut{rnd: rand.New(rand.NewPCG(seed, 1)), p: p}
	c.ordered = c.rnd.IntN(2) == 0
	c.horizon = c.until(d.oldest(), d.moment+1)
	c.keepNames(d.names)
	d.names, d.used = nil, 0
	d.life++
	delete(d.nodes, rootID)
	d.root = d.reborn(d.root, map[*node]*node{}, c)
	delete(d.nodes, d.root.id)
	d.root.id, d.root.links = rootID, 1
	d.nodes[rootID] = d.root
	maps.DeleteFunc(d.nodes, func(_ uint64, n *node) bool { return n.life != d.life && n.lookups == 0 })
	d.faults = nil
	d.power = dark
	d.moved.Broadcast()
	return c.loss
}

// oldest is the first moment that is not durable.
func (d *Disk) oldest() uint64 {
	first := d.moment + 1
	if len(d.names) > 0 {
		first = d.names[0].moment
	}
	for _, n := range d.nodes {
		if n.life != d.life {
			continue
		}
		for _, s := range n.sizes {
			if s.shrink {
				first = min(first, s.moment)
			}
		}
	}
	return first
}

// A cut is how one goes.
type cut struct {
	rnd     *rand.Rand
	p       float64
	ordered bool   // names and shrinks are there up to horizon; otherwise each by itself
	horizon uint64 // the first moment that is not there
	loss    Loss
}

func (c *cut) until(first, end uint64) uint64 {
	switch {
	case c.p == 0:
		return 0
	case c.p == 1:
		return math.MaxUint64
	}
	return first + c.rnd.Uint64N(end-first+1)
}

func (c *cut) coin() bool { return c.rnd.Float64() < c.p }

// keepNames makes those of the changes last that are on the disk.
func (c *cut) keepNames(all []change) {
	type place struct {
		dir  *node
		name string
	}
	lostPlaces, lostNodes := map[place]bool{}, map[*node]bool{}
	for i := range all {
		keep := c.coin()
		if c.ordered {
			keep = all[i].moment < c.horizon
		}
		for _, s := range all[i].slots() {
			keep = keep && !lostPlaces[place{s.dir, s.name}] && !lostNodes[s.node] && !lostNodes[s.dir]
		}
		c.loss.Names++
		if keep {
			c.loss.NamesKept++
			all[i].last()
			continue
		}
		for _, s := range all[i].slots() {
			lostPlaces[place{s.dir, s.name}], lostNodes[s.node] = true, true
		}
	}
}

// reborn returns what is left of a node, and of all below it, as a node of the life that begins. It takes the old one's
// disk: that has none any more.
func (d *Disk) reborn(old *node, done map[*node]*node, c *cut) *node {
	if n := done[old]; n != nil {
		n.links++
		return n
	}
	n := d.add(old.isDir(), old.mode, old.path)
	n.links = 1
	done[old] = n
	if !old.isDir() {
		n.disk = c.keepData(&old.file)
		n.live = slices.Clone(n.disk)
		n.reserved = (max(old.kept, int64(len(n.live))) + block - 1) / block * block
		n.kept = n.reserved
		d.used += n.reserved
		old.disk = nil
		return n
	}
	for _, name := range slices.Sorted(maps.Keys(old.durable)) {
		child := d.reborn(old.durable[name], done, c)
		child.path = path.Join(old.path, name)
		n.names[name], n.durable[name] = child, child
	}
	return n
}

// part lets a size lag behind what it was to be.
func (c *cut) part(f *file, to int64) {
	first := int64(len(f.disk)) / sector
	f.resize(max(int64(len(f.disk)), (first+c.rnd.Int64N(to/sector-first+1))*sector))
}

// keepData applies the sizes and sectors that are there, and returns the disk.
func (c *cut) keepData(f *file) []byte {
	shrinks, sizesLost := 0, false
	for _, s := range f.sizes {
		c.loss.Sizes++
		keep := c.coin()
		switch {
		case s.shrink && c.ordered:
			keep = s.moment < c.horizon
		case s.shrink:
			keep = keep && !sizesLost
		}
		switch {
		case keep && s.shrink:
			shrinks++
			fallthrough
		case keep:
			c.loss.SizesKept++
			f.resize(s.to)
		case s.shrink:
			sizesLost = true
		case s.to > int64(len(f.disk)) && c.coin(): // part of the way
			c.part(f, s.to)
		}
	}
	for _, s := range slices.Sorted(maps.Keys(f.dirty)) {
		c.loss.Sectors++
		if f.dirty[s] <= shrinks && c.coin() {
			c.loss.SectorsKept++
			f.flush(s)
		}
	}
	return f.disk
}
