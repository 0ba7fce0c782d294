//go:build !386 && !arm

package powerfs

import (
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Mount shows a disk in a directory, until it is unmounted. Errors: no FUSE, no rights. It needs to be root.
func Mount(d *Disk, dir string) (unmount func() error, err error) {
	s := &server{RawFileSystem: fuse.NewDefaultRawFileSystem(), d: d, lists: map[uint64][]fuse.DirEntry{}}
	srv, err := fuse.NewServer(s, dir, &fuse.MountOptions{
		FsName: "powerfs", Name: "powerfs", DirectMountStrict: true, DisableXAttrs: true, DisableReadDirPlus: true,
		MaxWrite: maxWrite, Logger: log.New(io.Discard, "", 0),
		// Else the kernel drops pages whenever a time has changed, also those of a write that is under way, and a read that
		// overtakes the write has it keep what was there before. Nobody but the kernel changes a file.
		ExplicitDataCacheControl: true,
	})
	if err != nil {
		return nil, fmt.Errorf("mount: %w", err)
	}
	go srv.Serve()
	keepToOurselves()
	if err := srv.WaitMount(); err != nil {
		return nil, errors.Join(fmt.Errorf("mount: %w", err), srv.Unmount())
	}
	return func() error {
		d.On() // who waits must not wait for ever
		err := srv.Unmount()
		if err != nil {
			err = errors.Join(err, syscall.Unmount(dir, syscall.MNT_DETACH))
		}
		return err
	}, nil
}

// keepToOurselves keeps go-fuse's descriptors from the processes that are started: one that waits for a disk and holds it
// open would wait for ever after the end of the one that serves it.
func keepToOurselves() {
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to == "/dev/fuse" {
			if fd, err := strconv.Atoi(filepath.Base(link)); err == nil {
				syscall.CloseOnExec(fd)
			}
		}
	}
}

// maxWrite is as much as one call writes at once: of a longer one that fails in the middle a process sees a short write.
const maxWrite = 1 << 20

// A server answers the kernel. What it does not know how to answer, the kernel does without.
type server struct {
	fuse.RawFileSystem
	d *Disk

	mu    sync.Mutex
	lists map[uint64][]fuse.DirEntry // of open directories, by handle; guarded by mu
	next  uint64                     // guarded by mu
}

// attributesLast is how long the kernel may believe them: it is the only one that changes a file. Names it asks for
// each time: after a Cut they are other ones.
const attributesLast = time.Minute

func (s *server) String() string { return "powerfs" }

// node finds one by the kernel's name for it.
func (s *server) node(id uint64) (*node, fuse.Status) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	n := s.d.nodes[id]
	if n == nil {
		return nil, fuse.Status(syscall.ESTALE)
	}
	return n, fuse.OK
}

// read takes a look, when the disk is on.
func (s *server) read(id uint64, look func(n *node) syscall.Errno) fuse.Status {
	n, status := s.node(id)
	if !status.Ok() {
		return status
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	s.d.pass()
	if s.d.hidden(n) {
		return fuse.EIO
	}
	return fuse.Status(look(n))
}

// hidden reports whether a node is of a life that has not begun. d.mu is held.
func (d *Disk) hidden(n *node) bool { return d.power == dark && n.life == d.life }

// change does something to a node, or to a name in it, as a call that can meet a Fault.
func (s *server) change(op Op, id uint64, name string, effect func(n *node) syscall.Errno) fuse.Status {
	return s.changeAt(op, id, name, 0, effect)
}

func (s *server) changeAt(op Op, id uint64, name string, off int64, effect func(n *node) syscall.Errno) fuse.Status {
	n, status := s.node(id)
	if !status.Ok() {
		return status
	}
	s.d.mu.Lock()
	p := n.path
	s.d.mu.Unlock()
	if name != "" {
		p = path.Join(p, name)
	}
	return fuse.Status(s.d.do(op, p, off, func() syscall.Errno {
		if s.d.hidden(n) {
			return syscall.EIO
		}
		return effect(n)
	}, func() {
		if op == Sync {
			s.d.failSync(n)
		}
	}))
}

func (n *node) attr(a *fuse.Attr) {
	*a = fuse.Attr{
		Ino: n.id, Size: uint64(len(n.live)), Blocks: uint64(n.reserved / sector), Mode: n.mode | syscall.S_IFREG,
		Nlink: uint32(n.links), Blksize: block,
	}
	if n.isDir() {
		a.Mode, a.Nlink = n.mode|syscall.S_IFDIR, 2
	}
	a.SetTimes(&n.changed, &n.changed, &n.changed)
}

// entry answers with a node, which the kernel knows from now on.
func (n *node) entry(out *fuse.EntryOut) {
	n.lookups++
	out.NodeId, out.Generation = n.id, 1
	out.SetAttrTimeout(attributesLast)
	n.attr(&out.Attr)
}

func (s *server) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	return s.read(h.NodeId, func(n *node) syscall.Errno {
		child := n.names[name]
		if child == nil {
			return syscall.ENOENT
		}
		child.entry(out)
		return 0
	})
}

func (s *server) Forget(id, lookups uint64) { s.d.forget(id, lookups) }

func (s *server) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return s.read(in.NodeId, func(n *node) syscall.Errno {
		out.SetTimeout(attributesLast)
		n.attr(&out.Attr)
		return 0
	})
}

func (s *server) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if size, ok := in.GetSize(); ok {
		if status := s.change(Truncate, in.NodeId, "", func(n *node) syscall.Errno { return s.d.truncate(n, int64(size)) }); !status.Ok() {
			return status
		}
	}
	return s.read(in.NodeId, func(n *node) syscall.Errno {
		if mode, ok := in.GetMode(); ok {
			n.mode = mode & 0o7777
		}
		n.changed = time.Now()
		out.SetTimeout(attributesLast)
		n.attr(&out.Attr)
		return 0
	})
}

func (s *server) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return s.change(Mkdir, in.NodeId, name, func(dir *node) syscall.Errno {
		n, errno := s.d.create(dir, name, true, in.Mode)
		if errno == 0 {
			n.entry(out)
		}
		return errno
	})
}

func (s *server) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	return s.change(Create, in.NodeId, name, func(dir *node) syscall.Errno {
		n, errno := s.d.create(dir, name, false, in.Mode)
		if errno == 0 {
			n.entry(&out.EntryOut)
			n.opens++
			out.OpenFlags = fuse.FOPEN_KEEP_CACHE
		}
		return errno
	})
}

func (s *server) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return s.change(Unlink, h.NodeId, name, func(dir *node) syscall.Errno { return s.d.remove(dir, name, false) })
}

func (s *server) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return s.change(Unlink, h.NodeId, name, func(dir *node) syscall.Errno { return s.d.remove(dir, name, true) })
}

func (s *server) Rename(_ <-chan struct{}, in *fuse.RenameIn, old, name string) fuse.Status {
	to, status := s.node(in.Newdir)
	if !status.Ok() {
		return status
	}
	return s.change(Rename, in.NodeId, name, func(from *node) syscall.Errno {
		return s.d.rename(from, old, to, name, in.Flags)
	})
}

func (s *server) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	n, status := s.node(in.Oldnodeid)
	if !status.Ok() {
		return status
	}
	return s.change(Link, in.NodeId, name, func(dir *node) syscall.Errno {
		errno := s.d.link(n, dir, name)
		if errno == 0 {
			n.entry(out)
		}
		return errno
	})
}

func (s *server) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return s.read(in.NodeId, func(n *node) syscall.Errno {
		n.opens++
		out.OpenFlags = fuse.FOPEN_KEEP_CACHE
		return 0
	})
}

func (s *server) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if n := s.d.nodes[in.NodeId]; n != nil {
		n.opens--
		s.d.dropped(n)
	}
}

func (s *server) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	count := 0
	status := s.read(in.NodeId, func(n *node) syscall.Errno {
		if int64(in.Offset) < int64(len(n.live)) {
			count = copy(buf, n.live[in.Offset:])
		}
		return 0
	})
	return fuse.ReadResultData(buf[:count]), status
}

func (s *server) Write(_ <-chan struct{}, in *fuse.WriteIn, b []byte) (uint32, fuse.Status) {
	status := s.changeAt(Write, in.NodeId, "", int64(in.Offset), func(n *node) syscall.Errno {
		n.changed = time.Now()
		return s.d.write(n, int64(in.Offset), b)
	})
	return uint32(len(b)), status
}

func (s *server) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return s.change(Sync, in.NodeId, "", func(n *node) syscall.Errno {
		s.d.sync(n)
		return 0
	})
}

func (s *server) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return s.change(SyncDir, in.NodeId, "", func(n *node) syscall.Errno {
		s.d.syncDir(n)
		return 0
	})
}

// The modes of fallocate.
const (
	keepSize  = 1
	punchHole = 2
)

func (s *server) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	off, size := int64(in.Offset), int64(in.Length)
	return s.change(Allocate, in.NodeId, "", func(n *node) syscall.Errno {
		switch in.Mode {
		case keepSize | punchHole:
			return s.d.punch(n, off, size)
		case keepSize, 0:
		default:
			return syscall.EOPNOTSUPP
		}
		errno := s.d.reserve(n, off+size)
		if errno == 0 && in.Mode == 0 {
			s.d.grow(n, off+size)
		}
		return errno
	})
}

func (s *server) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	var list []fuse.DirEntry
	status := s.read(in.NodeId, func(n *node) syscall.Errno {
		for _, name := range slices.Sorted(maps.Keys(n.names)) {
			child := n.names[name]
			e := fuse.DirEntry{Name: name, Ino: child.id, Mode: syscall.S_IFREG, Off: uint64(len(list)) + 1}
			if child.isDir() {
				e.Mode = syscall.S_IFDIR
			}
			list = append(list, e)
		}
		return 0
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	out.Fh, s.lists[s.next] = s.next, list
	return status
}

func (s *server) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.lists[in.Fh]
	for _, e := range list[min(in.Offset, uint64(len(list))):] {
		if !out.AddDirEntry(e) {
			break
		}
	}
	return fuse.OK
}

func (s *server) ReleaseDir(in *fuse.ReleaseIn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.lists, in.Fh)
}

func (s *server) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	free := uint64(max(s.d.limit-s.d.used, 0)) / block
	*out = fuse.StatfsOut{Blocks: uint64(s.d.limit) / block, Bfree: free, Bavail: free, Files: 1 << 20, Ffree: 1 << 19, Bsize: block, Frsize: block, NameLen: 255}
	return fuse.OK
}
