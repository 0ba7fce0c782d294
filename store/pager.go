package store

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

// A pager reads a file forwards, in steps of at least step bytes. Each buffer is a fresh one, as blocks point into it.
type pager struct {
	file *os.File
	ops  *ops
	soft bool       // a page that cannot be read is zeros, from now on: it was tried for long enough
	dead *deadPages // those that are; nil: none can be
	size int64      // nothing is read at or past it
	step int
	buf  []byte
	off  int64 // of buf[0]
}

// at returns the bytes at off, n at least. io.ErrUnexpectedEOF: the file has no n bytes there.
func (p *pager) at(off int64, n int) ([]byte, error) {
	if skip := off - p.off; skip >= 0 && skip+int64(n) <= int64(len(p.buf)) {
		return p.buf[skip:], nil
	}
	if off+int64(n) > p.size {
		return nil, io.ErrUnexpectedEOF
	}
	b := make([]byte, min(int64(max(n, p.step)), p.size-off))
	if err := p.fill(b, off); err != nil {
		return nil, err
	}
	p.buf, p.off = b, off
	return b, nil
}

// fill reads all of b.
func (p *pager) fill(b []byte, off int64) error {
	_, err := p.ops.pread(p.file, b, off)
	if p.dead != nil && err == nil {
		p.dead.answered(off, int64(len(b)))
	}
	if p.dead == nil || !errors.Is(err, syscall.EIO) {
		return err
	}
	for len(b) > 0 {
		page := b[:min(pageBytes-off%pageBytes, int64(len(b)))]
		if _, err := p.ops.pread(p.file, page, off); err != nil {
			if !errors.Is(err, syscall.EIO) || !p.dead.has(off, p.soft) {
				return err
			}
			clear(page)
		}
		b, off = b[len(page):], off+int64(len(page))
	}
	return nil
}

// deadPages are the pages of a segment that were given up: what the disk does not give of them is zeros. Safe for
// concurrent use.
type deadPages struct {
	refused atomic.Int64 // 1 + offset of what the disk did not give, and has not given since; 0: nothing

	mu    sync.Mutex
	pages map[int64]bool // by number; guarded by mu
}

// has reports whether the page at an offset, which the disk does not give, is one. add: it becomes one.
func (d *deadPages) has(off int64, add bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if add {
		if d.pages == nil {
			d.pages = map[int64]bool{}
		}
		d.pages[off/pageBytes] = true
	}
	if !d.pages[off/pageBytes] {
		d.refused.Store(1 + off)
	}
	return d.pages[off/pageBytes]
}

// answered notes that the disk gave n bytes at an offset.
func (d *deadPages) answered(off, n int64) {
	if at := d.refused.Load(); at > off && at <= off+n {
		d.refused.CompareAndSwap(at, 0)
	}
}
