package store

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	aheadBytes = 4 << 20 // disk is taken so far ahead of use
	pageBytes  = 4 << 10
	spareName  = "spare.tmp"
)

// ops are the calls that change the disk or read the log's blocks, so that a test can let one fail.
type ops struct {
	pread     func(f *os.File, b []byte, off int64) (int, error)
	pwrite    func(f *os.File, b []byte, off int64) (int, error)
	fdatasync func(f *os.File) error
	allocate  func(f *os.File, off, n int64, keepSize bool) error
	truncate  func(f *os.File, size int64) error
	rename    func(dir, old, new string) error
	remove    func(path string) error
	syncDir   func(dir *os.File) error
}

func diskOps() ops {
	return ops{
		pread:     func(f *os.File, b []byte, off int64) (int, error) { return f.ReadAt(b, off) },
		pwrite:    func(f *os.File, b []byte, off int64) (int, error) { return f.WriteAt(b, off) },
		fdatasync: fdatasync,
		allocate:  allocate,
		truncate:  func(f *os.File, size int64) error { return f.Truncate(size) },
		rename:    renameNoReplace,
		remove:    os.Remove,
		syncDir:   (*os.File).Sync,
	}
}

// A segmentLog is the log half of a Store: the segments of one directory.
//
// Concurrency: one goroutine appends, one seals and prepares, any number read. mu is held for moments and never during
// I/O; spareMu is held while a spare is made, and while one becomes a segment: they share a name.
type segmentLog struct {
	dir   string
	names *os.File // dir, open: where no more files may be opened, names can still be made durable
	uuid  [16]byte
	opts  Options
	ops   ops

	pages      atomic.Int64 // bytes written, in whole pages
	rotateSoon atomic.Bool

	// Owned by the appending goroutine.
	enc     encoder
	active  *segment // nil: the next append starts one
	rewrite bool     // RewriteTail has to come first
	torn    tornGroup
	tail    Tail

	recent recent // what readers took from the disk last

	spareMu    sync.Mutex
	spare      *spareFile // guarded by spareMu
	spareBytes atomic.Int64

	wounds   []wound             // found at open, not dealt with yet
	baseless bool                // the header that says what was accepted is destroyed, or counts what is lost behind it
	treat    func([]wound) error // deals with damage; nil: it is refused
	mendMu   sync.Mutex          // held by who mends a segment
	keysMu   sync.Mutex          // held by who writes a .keys
	lossy    atomic.Bool         // hurt has lost items
	badKeys  []string            // .keys that did not check at open, and whose segment is there; guarded by keysMu

	mu        sync.Mutex
	hurt      damageRecord // as queues.db has it; replaced, never changed in place
	segs      []*segment   // oldest first; replaced, never changed in place
	seq       uint64       // the next one
	newest    int64        // highest Item.Time
	positions map[string][]byte
	accepted  map[uint32]Tally
	queueNo   uint32
	fatal     error
	oldKeys   []keysFile // .keys whose segment is gone
}

// A view is a segment as a reader may use it: what was durable at one moment.
type view struct {
	seg  *segment
	last bool // no segment follows
	segmentState
}

// views returns all segments at one moment.
func (l *segmentLog) views() []view {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]view, len(l.segs))
	for i, g := range l.segs {
		out[i] = view{g, i == len(l.segs)-1, g.segmentState}
	}
	return out
}

// view returns a segment at this moment.
func (l *segmentLog) view(g *segment) view {
	l.mu.Lock()
	defer l.mu.Unlock()
	return view{g, len(l.segs) > 0 && l.segs[len(l.segs)-1] == g, g.segmentState}
}

// locate returns the first segment that ends above seq; nil if there is none.
func (l *segmentLog) locate(seq uint64) *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.segs {
		if g.end > seq {
			return g
		}
	}
	return nil
}

// fail makes an error the end of the log: everything after it fails with the same.
func (l *segmentLog) fail(op string, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == nil {
		l.fatal = &FatalError{Op: op, Err: err}
	}
	return l.fatal
}

// refuse tells what passes from what ends the log.
func (l *segmentLog) refuse(op string, err error) error {
	if err = full(err); errors.Is(err, ErrFull) {
		return fmt.Errorf("%s: %w", op, err)
	}
	return l.fail(op, err)
}

// failure returns the error that ended the log, nil while it works.
func (l *segmentLog) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

// pwrite writes and counts the pages that it touches.
func (l *segmentLog) pwrite(f *os.File, b []byte, off int64) error {
	pages := (off+int64(len(b))-1)/pageBytes - off/pageBytes + 1
	l.pages.Add(pages * pageBytes)
	_, err := l.ops.pwrite(f, b, off)
	return err
}

// written returns the bytes handed to pwrite, in whole pages that it touched.
func (l *segmentLog) written() int64 { return l.pages.Load() }

func (l *segmentLog) next() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seq
}

func (l *segmentLog) idTime() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newest
}

// oldest returns the lowest seq that is there, next() if there is none.
func (l *segmentLog) oldest() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.segs {
		if g.items > 0 {
			return g.first
		}
	}
	return l.seq
}

// synced returns the seq below which everything that the log has is durable.
func (l *segmentLog) synced() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segs) == 0 {
		return l.seq
	}
	return l.segs[len(l.segs)-1].end
}

// rotateNext makes the next append start a new segment, so that the newest header is current.
func (l *segmentLog) rotateNext() { l.rotateSoon.Store(true) }

// queueNumber returns the highest queue number that the newest header says was given.
func (l *segmentLog) queueNumber() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queueNo
}

// usage returns what segments with their keys, and the spare, take of the disk.
func (l *segmentLog) usage() (logBytes, spareBytes int64, segments int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.segs {
		logBytes += g.allocated
		if g.keysFile {
			logBytes += keysBytes(g.keys)
		}
	}
	for _, k := range l.oldKeys {
		logBytes += k.size
	}
	return logBytes, l.spareBytes.Load(), len(l.segs)
}

// close closes the files; what was appended is durable already. After a fatal error the spare stays: the next start
// removes it.
func (l *segmentLog) close() error {
	var errs []error
	l.spareMu.Lock()
	if l.spare != nil {
		errs = append(errs, l.spare.file.Close())
		if l.failure() == nil {
			errs = append(errs, os.Remove(l.spare.file.Name()))
		}
		l.spare = nil
	}
	l.spareMu.Unlock()
	for _, v := range l.views() {
		errs = append(errs, v.seg.close())
	}
	return errors.Join(append(errs, l.names.Close())...)
}

// oldestSegment returns the serial of the oldest segment, and its first seq; if there is none, 0 and the next seq.
func (l *segmentLog) oldestSegment() (serial, first uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segs) == 0 {
		return 0, l.seq
	}
	return l.segs[0].serial, l.segs[0].first
}

// Next returns the seq that the next item gets. The first ever is 1.
func (s *Store) Next() uint64 { return s.log.next() }

// Oldest returns the lowest seq that the log can still read, Next if there is none.
func (s *Store) Oldest() uint64 { return s.log.oldest() }

// IDTime returns the highest Item.Time ever stored, in ms since 1970.
func (s *Store) IDTime() int64 { return s.log.idTime() }

// MaxGroup returns the most bytes that a group commit may encode to: half a segment, of which a few headers are no
// part. Compare it with the sum of EncodedSize.
func (s *Store) MaxGroup() int64 { return s.log.opts.SegmentBytes / 2 }

// Positions returns the newest positions of the sources that are durable. The map is the caller's, the values are not
// to be changed.
func (s *Store) Positions() map[string][]byte {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return maps.Clone(s.log.positions)
}

// Accepted returns how many items, and bytes of their bodies, were stored for a queue since it was made.
func (s *Store) Accepted(queue uint32) Tally {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return s.log.accepted[queue]
}

// addPositions merges newer positions into a map, which it makes if need be.
func addPositions(to, from map[string][]byte) map[string][]byte {
	if len(from) == 0 {
		return to
	}
	if to == nil {
		to = make(map[string][]byte)
	}
	for name, v := range from {
		to[name] = slices.Clone(v)
	}
	return to
}

// newestSegment returns the serial of the last segment, 0 if there is none.
func (l *segmentLog) newestSegment() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.segs); n > 0 {
		return l.segs[n-1].serial
	}
	return 0
}
