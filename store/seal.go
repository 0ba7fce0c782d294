package store

import (
	"errors"
	"fmt"
	"os"
	"slices"
)

const releaseStep = 4 << 20 // an unlink of 64 MiB stalls appends; this does not

// Seal gives every segment that is no longer the newest its .keys and its footer, and cuts it to what is used. No error
// of it is fatal: a segment that could not be sealed is scanned at the next start, and tried again by the next Seal.
// After nil all but the newest are sealed.
func (s *Store) Seal() error { return s.log.seal() }

func (l *segmentLog) seal() error {
	var errs []error
	for _, v := range l.views() {
		if v.last || v.sealed {
			continue
		}
		if err := l.sealSegment(v); err != nil {
			errs = append(errs, fmt.Errorf("seal %s: %w", v.seg.path, err))
		}
	}
	return errors.Join(errs...)
}

func (l *segmentLog) sealSegment(v view) error {
	f, err := v.seg.open()
	if err != nil {
		return err
	}
	if v.found != nil { // it stays as it is, and is surveyed again by the next start: its file may be the one in quarantine
		if err := l.writeKeys(v); err != nil {
			return err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		v.seg.sealed = true
		return nil
	}
	if err := l.writeKeys(v); isFull(err) {
		// The space behind the blocks may be what the keys need.
		if terr := l.ops.truncate(f, v.size); terr != nil {
			return errors.Join(err, terr)
		}
		err = l.writeKeys(v)
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	footer := encodeFooter(&v.segmentState, blockSeed(v.seg.seed, v.size))
	if err := l.pwrite(f, footer, v.size); err != nil {
		return err
	}
	size := v.size + int64(len(footer))
	if err := l.ops.truncate(f, size); err != nil {
		return err
	}
	if err := l.ops.fdatasync(f); err != nil {
		return err
	}
	l.mu.Lock()
	v.seg.sealed, v.seg.allocated = true, size
	l.mu.Unlock()
	return nil
}

// Release removes sealed segments, and returns the bytes of disk that they took. The caller makes sure that the commit
// that freed them was followed by another one. A segment whose keys are not on disk yet gets them first. Readers that
// are in one go on behind it. A crash in the middle leaves whole segments, or files that the next start removes.
//
// A segment that a cursor is not past, because its queue is marked or evacuated there, leaves a hole: that is written to
// queues.db first, so that a start can tell it from damage. On a full disk such segments stay: ErrFull, wrapped.
func (s *Store) Release(serials []uint64) (int64, error) {
	holes := s.log.holes(serials, s.queues.lowestCursor())
	err := s.queues.addHoles(holes)
	if err != nil {
		if !errors.Is(err, ErrFull) {
			return 0, fmt.Errorf("release: %w", err)
		}
		err = fmt.Errorf("release: %w", err)
		serials = slices.DeleteFunc(slices.Clone(serials), func(serial uint64) bool {
			return slices.ContainsFunc(holes, func(h hole) bool { return h.serial == serial })
		})
	}
	freed, rerr := s.log.release(serials)
	s.queues.forgetVerdicts(serials)
	return freed, errors.Join(err, rerr)
}

func (l *segmentLog) release(serials []uint64) (int64, error) {
	var freed int64
	var errs []error
	for _, v := range l.releasable(serials) {
		n, err := l.releaseSegment(v)
		freed += n
		if err != nil {
			errs = append(errs, fmt.Errorf("release %s: %w", v.seg.path, err))
		}
	}
	if freed > 0 {
		errs = append(errs, l.ops.syncDir(l.names))
	}
	return freed, errors.Join(errs...)
}

// releasable are those of the segments that may go. One that is not sealed ends where the next begins: so nothing goes
// behind it.
func (l *segmentLog) releasable(serials []uint64) []view {
	var out []view
	for _, v := range l.views() {
		if !v.sealed || v.last {
			break
		}
		if slices.Contains(serials, v.seg.serial) {
			out = append(out, v)
		}
	}
	return out
}

func (l *segmentLog) releaseSegment(v view) (int64, error) {
	if err := l.writeKeys(v); err != nil {
		return 0, err
	}
	gone := v.seg.path + ".gone.tmp"
	if err := os.Rename(v.seg.path, gone); err != nil {
		return 0, err
	}
	l.forget(v.seg)
	return v.allocated, errors.Join(v.seg.close(), l.removeInSteps(gone))
}

// forget takes a segment out of the list. Its keys live on.
func (l *segmentLog) forget(g *segment) {
	g.gone.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segs = slices.DeleteFunc(slices.Clone(l.segs), func(o *segment) bool { return o == g })
	if g.keysFile {
		l.oldKeys = append(slices.Clone(l.oldKeys), keysFile{
			path: g.keysPath(), serial: g.serial, newest: g.lastTime, count: g.keys, size: keysBytes(g.keys),
		})
	}
}

// removeInSteps truncates a file piece by piece before it unlinks it, unless it has another name: quarantine keeps that.
func (l *segmentLog) removeInSteps(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if Links(fi) == 1 && fi.Size() > releaseStep {
		// If the old name came back after a power cut, it would be that of a segment that was cut short.
		if err := l.ops.syncDir(l.names); err != nil {
			return err
		}
		for size := fi.Size() - releaseStep; size > 0; size -= releaseStep {
			if err := l.ops.truncate(f, size); err != nil {
				return err
			}
		}
	}
	return l.ops.remove(path)
}
