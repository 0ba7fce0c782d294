package trace

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// A Disk is a directory as the processes on it see it, and as it is durable. It plays the steps of one trace, in order.
// One goroutine uses it; what Pending returns is free of it.
type Disk struct {
	trace *Trace
	root  *node
	acts  map[int]func() // what the end of a call completes, by event
	next  int            // number of the next change
}

// A node is a file or a directory.
type node struct {
	dir bool

	base    []byte // a file's durable content; replaced, never changed in place
	size    int64  // as processes see it
	changes []*change

	names   map[string]*node // a directory's, as processes see it
	durable map[string]*node // replaced, never changed in place
	moves   []*move
}

// A change is one to a file that is not durable.
type change struct {
	n    int // its place among all changes
	kind Kind
	off  int64 // of the data; or the size of a Resize, Extend
	data []byte
	done bool // the call has returned; of the Disk's goroutine only
	owed bool // a flush that did nothing should have covered it; likewise
}

// A move is one of names in a directory that is not durable.
type move struct {
	n        int
	from, to string // either may be empty: it is made at to, or removed from from
	node     *node
	done     bool
	owed     bool
}

// NewDisk is a disk that plays a trace from its beginning, with the directory root as it is now: all of it is durable.
func NewDisk(t *Trace, root string) (*Disk, error) {
	d := &Disk{trace: t, acts: map[int]func(){}}
	var err error
	d.root, err = load(root)
	return d, err
}

func load(at string) (*node, error) {
	entries, err := os.ReadDir(at)
	if err != nil {
		return nil, err
	}
	d := newDir()
	for _, e := range entries {
		full := filepath.Join(at, e.Name())
		var n *node
		switch {
		case e.IsDir():
			n, err = load(full)
		case e.Type().IsRegular():
			var content []byte
			content, err = os.ReadFile(full)
			n = &node{base: content, size: int64(len(content))}
		default:
			err = &fs.PathError{Op: "load", Path: full, Err: fs.ErrInvalid}
		}
		if err != nil {
			return nil, err
		}
		d.names[e.Name()] = n
	}
	d.durable = maps.Clone(d.names)
	return d, nil
}

func newDir() *node { return &node{dir: true, names: map[string]*node{}, durable: map[string]*node{}} }

// Play plays step i of the trace. A flush for which honest says no returns like any other and does nothing; nil: all are
// honest.
func (d *Disk) Play(i int, honest func(Event) bool) error {
	s := d.trace.Steps[i]
	if s.Event < 0 {
		return nil
	}
	e := &d.trace.Events[s.Event]
	if s.End {
		if act := d.acts[s.Event]; act != nil {
			act()
			delete(d.acts, s.Event)
		}
		return nil
	}
	act, err := d.begin(e, honest)
	if err != nil {
		return fmt.Errorf("step %d, %v of %s: %w", i, e.Kind, e.Path, err)
	}
	d.acts[s.Event] = act
	return nil
}

// begin takes the effect of a call that processes see, and returns what its end completes. What it does may be on the
// disk from now on.
func (d *Disk) begin(e *Event, honest func(Event) bool) (func(), error) {
	switch e.Kind {
	case Mark:
		return nil, nil
	case Write, Resize, Extend:
		n, err := d.find(e.Path)
		if err != nil || n.dir {
			return nil, orInvalid(err)
		}
		return d.change(n, e), nil
	case Sync:
		n, err := d.find(e.Path)
		if err != nil {
			return nil, err
		}
		if honest != nil && !honest(*e) {
			n.owe()
			return nil, nil
		}
		return n.flush(), nil
	}
	return d.move(e)
}

func orInvalid(err error) error {
	if err == nil {
		err = fs.ErrInvalid
	}
	return err
}

// find is what processes see at a path.
func (d *Disk) find(name string) (*node, error) {
	if name == "." {
		return d.root, nil
	}
	parent, err := d.find(path.Dir(name))
	if err != nil {
		return nil, err
	}
	if n := parent.names[path.Base(name)]; n != nil {
		return n, nil
	}
	return nil, fs.ErrNotExist
}

func (d *Disk) change(n *node, e *Event) func() {
	c := &change{n: d.next, kind: e.Kind, off: e.Off, data: e.Data}
	switch d.next++; e.Kind {
	case Write:
		n.size = max(n.size, e.Off+int64(len(e.Data)))
	case Extend:
		c.off = e.Size
		n.size = max(n.size, e.Size)
	default:
		c.kind, c.off, n.size = Resize, e.Size, e.Size
	}
	n.changes = append(n.changes, c)
	return func() { c.done = true }
}

// flush begins one, and returns its end.
func (n *node) flush() func() {
	var changes []*change
	for _, c := range n.changes {
		if c.done {
			changes = append(changes, c)
		}
	}
	var moves []*move
	for _, m := range n.moves {
		if m.done {
			moves = append(moves, m)
		}
	}
	return func() {
		if len(changes) > 0 {
			n.base = wholly(n.base, changes)
			n.changes = slices.DeleteFunc(slices.Clone(n.changes), func(c *change) bool { return slices.Contains(changes, c) })
		}
		if len(moves) > 0 {
			n.durable = maps.Clone(n.durable)
			for _, m := range moves {
				m.apply(n.durable)
			}
			n.moves = slices.DeleteFunc(slices.Clone(n.moves), func(m *move) bool { return slices.Contains(moves, m) })
		}
	}
}

// owe notes what a flush should have covered that does nothing.
func (n *node) owe() {
	for _, c := range n.changes {
		c.owed = c.owed || c.done
	}
	for _, m := range n.moves {
		m.owed = m.owed || m.done
	}
}

func (m *move) apply(names map[string]*node) {
	if m.from != "" {
		delete(names, m.from)
	}
	if m.to != "" {
		names[m.to] = m.node
	}
}

// move takes a change of names.
func (d *Disk) move(e *Event) (func(), error) {
	dir, err := d.find(path.Dir(e.Path))
	if err != nil {
		return nil, err
	}
	name := path.Base(e.Path)
	m := &move{n: d.next, node: dir.names[name]}
	switch {
	case e.Kind == Make && m.node != nil && e.Size == 0:
		return d.change(m.node, &Event{Kind: Resize}), nil
	case e.Kind == Make && m.node != nil:
		return nil, nil
	case e.Kind == Make:
		m.to, m.node = name, &node{}
	case e.Kind == MakeDir:
		m.to, m.node = name, newDir()
	case m.node == nil:
		return nil, fs.ErrNotExist
	case e.Kind == Rename:
		m.from, m.to = name, path.Base(e.To)
	default:
		m.from = name
	}
	d.next++
	m.apply(dir.names)
	dir.moves = append(dir.moves, m)
	return func() { m.done = true }, nil
}

// Names are those that processes see in a directory.
func (d *Disk) Names(dir string) []string {
	n, err := d.find(dir)
	if err != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(n.names))
}
