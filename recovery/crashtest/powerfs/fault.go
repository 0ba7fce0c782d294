package powerfs

import (
	"fmt"
	"path"
	"slices"
	"syscall"
	"time"
)

// An Op is a kind of call.
type Op int

// The kinds of calls that a Fault can meet.
const (
	Write Op = iota
	Sync     // of a file
	SyncDir
	Rename
	Truncate
	Unlink
	Create
	Allocate
	Link
	Mkdir
	ops int = iota
)

func (o Op) String() string {
	return []string{"write", "sync", "syncdir", "rename", "truncate", "unlink", "create", "allocate", "link", "mkdir"}[o]
}

// A Call is one call of a process.
type Call struct {
	Op   Op
	Path string    // from the root of the disk; of a rename: of what it is about to be
	Off  int64     // of a write
	N    int       // how many of the kind there were, this one included
	At   time.Time // when it came
}

func (c Call) String() string { return fmt.Sprintf("%v %d of %s", c.Op, c.N, c.Path) }

// A Fault meets calls of one kind. The kernel makes more than one write of one that begins within a page: a process of
// which a later one fails is told of a short write, and tries again. That fails too, so that it is told.
type Fault struct {
	Op      Op
	Name    string // a pattern (path.Match) of the last element of the path; empty: any
	N       int    // the first of the matching calls that is met, from 1, counted from Inject on; 0 is 1
	Forever bool   // so are all that follow

	Err  syscall.Errno   // what it answers, instead of doing it
	Lie  bool            // it answers that it was done, and nothing was
	Hang <-chan struct{} // it waits until this is closed, then goes on

	Before, After func(Call) // before and after it was done; the call waits for them
}

type fault struct {
	Fault
	seen  int
	again *Call // a write that failed, and would be tried again
}

// Inject has a Fault meet calls from now on. The power takes all of them along.
func (d *Disk) Inject(f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f.N = max(f.N, 1)
	d.faults = append(d.faults, &fault{Fault: f})
}

// Heal takes all Faults away. Calls that one holds go on when it lets them.
func (d *Disk) Heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = nil
}

// Hits returns the calls that met a Fault, since the last time it was asked.
func (d *Disk) Hits() []Call {
	d.mu.Lock()
	defer d.mu.Unlock()
	hits := d.hits
	d.hits = nil
	return hits
}

// Seen is how many Hits would return.
func (d *Disk) Seen() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.hits)
}

// do lets one call of a process happen, or whatever a Fault makes of it; failed is what it does when it fails.
func (d *Disk) do(op Op, p string, off int64, effect func() syscall.Errno, failed func()) syscall.Errno {
	d.mu.Lock()
	d.pass()
	d.counts[op]++
	call := Call{op, p, off, d.counts[op], time.Now()}
	f := d.meets(call)
	d.mu.Unlock()
	if f.Before != nil {
		f.Before(call)
	}
	if f.Hang != nil {
		<-f.Hang
	}
	errno := d.result(f, effect, failed)
	if f.After != nil {
		f.After(call)
	}
	return errno
}

func (d *Disk) result(f Fault, effect func() syscall.Errno, failed func()) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pass()
	switch {
	case f.Lie:
		return 0
	case f.Err != 0:
		failed()
		return f.Err
	}
	return effect()
}

// pass waits while the disk is frozen. d.mu is held.
func (d *Disk) pass() {
	for d.power == frozen {
		d.moved.Wait()
	}
}

// meets returns the Fault that a call meets; the zero one: none.
func (d *Disk) meets(call Call) Fault {
	for _, f := range slices.Clone(d.faults) {
		if f.Op != call.Op {
			continue
		}
		if ok, err := path.Match(f.Name, path.Base(call.Path)); f.Name != "" && (!ok || err != nil) {
			continue
		}
		if last := f.again; last != nil && last.Path == call.Path && last.Off == call.Off {
			f.again = nil
			return f.Fault
		}
		if f.seen++; f.seen == f.N || f.seen > f.N && f.Forever {
			d.hits = append(d.hits, call)
			if f.Op == Write && f.Err != 0 {
				f.again = &call
			}
			return f.Fault
		}
	}
	return Fault{}
}
