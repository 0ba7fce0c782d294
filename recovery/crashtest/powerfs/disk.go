package powerfs

import (
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	sector = 512
	block  = 4096 // in which space is counted

	rootID = 1 // FUSE's name for the root

	plenty = 16 << 30 // the size of a disk without a Limit
)

// A Disk is the state of a disk and of the page cache above it. Safe for concurrent use.
type Disk struct {
	mu     sync.Mutex
	moved  *sync.Cond // power changed; of mu
	power  power      // guarded by mu
	rnd    *rand.Rand // what is written back early, and what of a failed sync; guarded by mu
	life   int        // how often the power went; guarded by mu
	root   *node      // guarded by mu
	nodes  map[uint64]*node
	nextID uint64   // guarded by mu
	moment uint64   // numbers what happened to names and sizes; guarded by mu
	names  []change // that are not durable, in order; guarded by mu

	limit int64 // bytes; guarded by mu
	used  int64 // guarded by mu

	faults []*fault // guarded by mu
	counts [ops]int // calls of each kind; guarded by mu
	hits   []Call   // that met a Fault; guarded by mu
}

type power int

const (
	on     power = iota
	frozen       // calls wait
	dark         // the power went: what an earlier life holds goes on, for nothing, and nothing else is there
)

// New returns an empty disk. seed decides what it writes back before it has to.
func New(seed uint64) *Disk {
	d := &Disk{rnd: rand.New(rand.NewPCG(seed, 0)), nodes: map[uint64]*node{}, nextID: rootID, limit: plenty}
	d.moved = sync.NewCond(&d.mu)
	d.root = d.add(true, 0o700, "")
	d.root.links = 1
	return d
}

// Freeze stops the disk at this moment: what was answered has happened, what was not waits until Cut.
func (d *Disk) Freeze() { d.set(frozen) }

// On turns the disk on after a Freeze or a Cut.
func (d *Disk) On() { d.set(on) }

func (d *Disk) set(p power) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.power = p
	d.moved.Broadcast()
}

// Limit makes the disk as large as what is used and n bytes more; negative: as large as it was.
func (d *Disk) Limit(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limit = d.used + n
	if n < 0 {
		d.limit = plenty
	}
}

// Names lists a directory by its path below the root, as a process sees it; nil: there is none.
func (d *Disk) Names(dir string) (names []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.find(dir); n != nil {
		for name := range n.names {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// find walks from the root. d.mu is held.
func (d *Disk) find(p string) *node {
	n := d.root
	for rest := path.Clean("/" + p)[1:]; rest != "" && n != nil; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		n = n.names[name]
	}
	return n
}

// A node is a file or a directory. Its fields are guarded by the disk's mu.
type node struct {
	id      uint64
	life    int    // of the disk; an earlier one: nothing of it is durable any more
	lookups uint64 // that the kernel has not forgotten
	path    string // by which it was last named, from the root
	mode    uint32 // permissions
	changed time.Time
	links   int
	opens   int

	file
	directory
}

// A directory has names twice: as they are seen, and as they are durable.
type directory struct {
	names, durable map[string]*node // nil for a file
}

func (n *node) isDir() bool { return n.names != nil }

// add makes a node without a name.
func (d *Disk) add(dir bool, mode uint32, p string) *node {
	n := &node{id: d.nextID, life: d.life, path: p, mode: mode & 0o7777, changed: time.Now()}
	if dir {
		n.names, n.durable = map[string]*node{}, map[string]*node{}
	} else {
		n.dirty = map[int64]int{}
	}
	d.nodes[n.id] = n
	d.nextID++
	return n
}

// forget drops what the kernel does not know any more and the power took.
func (d *Disk) forget(id, lookups uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.nodes[id]
	if n == nil || id == rootID {
		return
	}
	n.lookups -= min(lookups, n.lookups)
	if n.lookups == 0 && n.life != d.life {
		delete(d.nodes, id)
	}
}

// reserve counts the space of a file up to end. ENOSPC: there is none. A life that is over has no bounds.
func (d *Disk) reserve(n *node, end int64) syscall.Errno {
	end = (end + block - 1) / block * block
	if n.life != d.life || end <= n.reserved {
		return 0
	}
	if d.used+end-n.reserved > d.limit {
		return syscall.ENOSPC
	}
	d.used += end - n.reserved
	n.reserved = end
	return 0
}

// unreserve gives the space behind end back.
func (d *Disk) unreserve(n *node, end int64) {
	end = (end + block - 1) / block * block
	if n.life == d.life && end < n.reserved {
		d.used -= n.reserved - end
		n.reserved = end
	}
}

// dropped gives back the space of a file that has no name and that nobody has open.
func (d *Disk) dropped(n *node) {
	if n.links == 0 && n.opens == 0 && !n.isDir() {
		d.unreserve(n, 0)
	}
}
