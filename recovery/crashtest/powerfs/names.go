package powerfs

import (
	"path"
	"syscall"
)

// noReplace is RENAME_NOREPLACE of renameat2.
const noReplace = 1

// A slot is a name in a directory, and what it names.
type slot struct {
	dir  *node
	name string
	node *node
}

// A change is what happened to names in one step: a slot that is empty now, a slot that is taken now, or both.
type change struct {
	moment       uint64
	remove, make *slot
}

func (c *change) slots() (all []*slot) {
	for _, s := range []*slot{c.remove, c.make} {
		if s != nil {
			all = append(all, s)
		}
	}
	return all
}

// happen does a change, for whoever looks. It is not durable.
func (d *Disk) happen(remove, add *slot) {
	if remove != nil {
		delete(remove.dir.names, remove.name)
		remove.node.links--
		d.dropped(remove.node)
	}
	if add != nil {
		if old := add.dir.names[add.name]; old != nil {
			old.links--
			d.dropped(old)
		}
		add.dir.names[add.name] = add.node
		add.node.links++
		add.node.path = path.Join(add.dir.path, add.name)
	}
	if d.moment++; life(remove, add) == d.life {
		d.names = append(d.names, change{d.moment, remove, add})
	}
}

// life is the one of the directories that a change is in.
func life(remove, add *slot) int {
	if remove != nil {
		return remove.dir.life
	}
	return add.dir.life
}

// last makes a change durable.
func (c *change) last() {
	if s := c.remove; s != nil && s.dir.durable[s.name] == s.node {
		delete(s.dir.durable, s.name)
	}
	if s := c.make; s != nil {
		s.dir.durable[s.name] = s.node
	}
}

// syncDir makes the names of a directory durable, and those that they came from.
func (d *Disk) syncDir(n *node) {
	if n.life != d.life {
		return
	}
	dirs := map[*node]bool{n: true}
	due := make([]bool, len(d.names))
	for i := len(d.names) - 1; i >= 0; i-- {
		slots := d.names[i].slots()
		for _, s := range slots {
			due[i] = due[i] || dirs[s.dir]
		}
		for _, s := range slots {
			dirs[s.dir] = dirs[s.dir] || due[i]
		}
	}
	var rest []change
	for i := range d.names {
		if due[i] {
			d.names[i].last()
		} else {
			rest = append(rest, d.names[i])
		}
	}
	d.names = rest
}

// create makes a file or a directory.
func (d *Disk) create(dir *node, name string, isDir bool, mode uint32) (*node, syscall.Errno) {
	if dir.names[name] != nil {
		return nil, syscall.EEXIST
	}
	if dir.life == d.life && d.used >= d.limit {
		return nil, syscall.ENOSPC
	}
	n := d.add(isDir, mode, path.Join(dir.path, name))
	n.life = dir.life // of a life that is over, too
	d.happen(nil, &slot{dir, name, n})
	return n, 0
}

func (d *Disk) link(n, dir *node, name string) syscall.Errno {
	if dir.names[name] != nil {
		return syscall.EEXIST
	}
	d.happen(nil, &slot{dir, name, n})
	return 0
}

// remove takes a name away: of a file, or of an empty directory.
func (d *Disk) remove(dir *node, name string, isDir bool) syscall.Errno {
	n := dir.names[name]
	switch {
	case n == nil:
		return syscall.ENOENT
	case isDir && !n.isDir():
		return syscall.ENOTDIR
	case !isDir && n.isDir():
		return syscall.EISDIR
	case len(n.names) > 0:
		return syscall.ENOTEMPTY
	}
	d.happen(&slot{dir, name, n}, nil)
	return 0
}

// rename gives a node another name, in one step.
func (d *Disk) rename(from *node, old string, to *node, name string, flags uint32) syscall.Errno {
	n, there := from.names[old], to.names[name]
	switch {
	case n == nil:
		return syscall.ENOENT
	case flags&^noReplace != 0:
		return syscall.EINVAL
	case there != nil && flags&noReplace != 0:
		return syscall.EEXIST
	case there == n:
		return 0
	case there != nil && there.isDir() != n.isDir():
		return syscall.EINVAL
	case there != nil && len(there.names) > 0:
		return syscall.ENOTEMPTY
	}
	d.happen(&slot{from, old, n}, &slot{to, name, n})
	return 0
}
