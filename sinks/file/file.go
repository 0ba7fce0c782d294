// Step 8 of an item's life: it is written to a file, and fsynced.

// Package file delivers items as lines to a file: the item and an LF.
//
// Done means fsynced, file and directory, with the default Options.Fsync. The weaker settings say what they lose.
//
// A duplicate is the same line again; in the formats json and cloudevents it has the same id, which is what to dedupe on. In format raw
// nothing tells it from a second item with the same body. A raw body is written as it is: one that holds an LF is
// several lines, and what is cut after a crash (below) is only the part after its last LF; the item comes again, whole.
//
// No error is permanent: a file refuses no item. A full disk, a missing directory and each other error is Unavailable.
//
// The file belongs to the sink: one sink per file, and no other writer.
//
//   - What follows the last LF when the file is opened is a line torn by a crash: it is cut, never glued to the next. A power
//     cut may also leave zeros inside a batch that was not done; the format has no checksum to find them by.
//   - After an error of a write or an fsync nobody knows what is on disk: the file is cut back to where it was known to be
//     good, closed, and opened anew for the next attempt. So the fsync that makes the next attempt done is not one that
//     forgot the pages of this one.
//   - A file that was renamed, unlinked, replaced or truncated from outside is noticed before and after each write. Where
//     it happened during the write the delivery is not done, and comes again in the new file: a duplicate rather than a
//     loss.
//   - Rotation renames PATH to PATH.000001, PATH.000002 and so on: one rename, and an order that no clock can change.
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"holdfast/sinks"
)

// A Sink appends to one file. It is safe for concurrent use; deliveries take turns.
type Sink struct {
	o       Options
	open    func(path string, flag int) (handle, error) // the file and its directory; tests put faults here
	closing atomic.Bool
	busy    chan struct{} // capacity 1; who has put a value in owns what is below

	f      handle      // nil: not open
	info   fs.FileInfo // of f, or of the last f
	size   int64       // where the last done delivery ended
	unsure bool        // an attempt failed, and what it wrote may still lie after size
}

// A handle is what the sink needs of *os.File.
type handle interface {
	Write([]byte) (int, error)
	ReadAt([]byte, int64) (int, error)
	Truncate(int64) error
	Sync() error
	Stat() (fs.FileInfo, error)
	Close() error
}

// New makes a sink for one file. It errs where an option is not valid, naming it; it does not touch the disk.
func New(o Options) (*Sink, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Sink{o: o, open: openFile, busy: make(chan struct{}, 1)}, nil
}

func openFile(path string, flag int) (handle, error) { return os.OpenFile(path, flag, 0o640) }

// Deliver appends the items, in order and in one write, and returns nil once they are as durable as Options.Fsync says.
// Every error is Unavailable; lines of the items may be in the file then. A disk that hangs is left to itself when ctx
// ends: the sink stays busy until it answers.
func (s *Sink) Deliver(ctx context.Context, items []sinks.Item) error {
	lines := s.o.Format.AppendLines(nil, items, s.o.Source) // a copy: the write may outlive this call
	if err := s.deliver(ctx, lines); err != nil {
		return sinks.Unavailable(fmt.Errorf("file: %w", err))
	}
	return nil
}

func (s *Sink) deliver(ctx context.Context, lines []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.busy <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	go func() {
		err := s.write(lines)
		s.release()
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close closes the file, fsyncing it unless that is to be never. It does not wait for a write that outlived its context:
// that one closes the file as it ends.
func (s *Sink) Close() error {
	s.closing.Store(true)
	select {
	case s.busy <- struct{}{}:
		err := s.shut()
		s.release()
		return err
	default:
		return nil
	}
}

// release ends the ownership. It looks at closing after that, so that one of it and Close shuts the file.
func (s *Sink) release() {
	<-s.busy
	if !s.closing.Load() {
		return
	}
	select {
	case s.busy <- struct{}{}:
		_ = s.shut() // what Deliver said was durable is; Close has returned
		<-s.busy
	default:
	}
}

func (s *Sink) write(lines []byte) error {
	if s.closing.Load() {
		return os.ErrClosed
	}
	if err := s.ready(int64(len(lines))); err != nil {
		return err
	}
	if err := s.append(lines); err != nil {
		s.giveUp()
		return err
	}
	s.size += int64(len(lines))
	return s.stillThere()
}

// ready opens the file where it is not open, is not the one at the path any more, or has to be rotated.
func (s *Sink) ready(n int64) error {
	if s.f != nil && s.moved(func(size int64) bool { return size != s.size }) {
		if err := s.shut(); err != nil {
			return err
		}
	}
	if s.f == nil {
		if err := s.reopen(); err != nil {
			return err
		}
	}
	if s.o.RotateSize == 0 || s.size == 0 || s.size+n <= s.o.RotateSize {
		return nil
	}
	if err := s.rotate(); err != nil {
		return fmt.Errorf("rotate: %w", err)
	}
	return s.reopen()
}

// moved says whether the path has another file than f, none, or one whose size is bad.
func (s *Sink) moved(bad func(size int64) bool) bool {
	now, err := os.Stat(s.o.Path)
	return err != nil || !os.SameFile(now, s.info) || bad(now.Size())
}

// append makes lines as durable as they are to be. The file is as it was, or unknown, after an error.
func (s *Sink) append(lines []byte) error {
	if _, err := s.f.Write(lines); err != nil {
		return err
	}
	if s.o.Fsync == Always {
		return s.f.Sync()
	}
	return nil
}

// stillThere errs where the file went while it was written: renamed, it has the lines, unlinked, it does not, and the two
// look the same.
func (s *Sink) stillThere() error {
	if !s.moved(func(size int64) bool { return size < s.size }) {
		return nil
	}
	return errors.Join(errors.New("the file was moved or cut while it was written"), s.shut())
}

// giveUp cuts back what a failed attempt wrote, which also makes room on a full disk, and closes the file whatever comes
// of it: reopen looks at the result.
func (s *Sink) giveUp() {
	s.unsure = true
	_ = s.f.Truncate(s.size)
	_ = s.f.Close()
	s.f = nil
}

// shut closes the file, where it is open. An error is of lines that were done and, with Fsync Rotate, may not be durable.
func (s *Sink) shut() error {
	if s.f == nil {
		return nil
	}
	var err error
	if s.o.Fsync != None {
		err = s.f.Sync()
	}
	err = errors.Join(err, s.f.Close())
	s.f = nil
	return err
}

// reopen opens the file, cuts what is not a whole line, and makes its name durable.
func (s *Sink) reopen() error {
	f, err := s.open(s.o.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND)
	if err != nil {
		return err
	}
	if err := s.adopt(f); err != nil {
		_ = f.Close()
		return err
	}
	s.f, s.unsure = f, false
	return nil
}

func (s *Sink) adopt(f handle) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", s.o.Path)
	}
	known := info.Size()
	if s.unsure && os.SameFile(s.info, info) {
		known = min(known, s.size)
	}
	end, err := lastLine(f, known)
	if err != nil {
		return err
	}
	if end < info.Size() {
		if err := f.Truncate(end); err != nil {
			return fmt.Errorf("cut a torn line: %w", err)
		}
	}
	if s.o.Fsync == Always {
		if err := errors.Join(f.Sync(), s.syncDir()); err != nil {
			return err
		}
	}
	s.info, s.size = info, end
	return nil
}

// lastLine returns where the last whole line in the first size bytes ends: after an LF, or 0.
func lastLine(f handle, size int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for size > 0 {
		n := min(size, int64(len(buf)))
		if _, err := f.ReadAt(buf[:n], size-n); err != nil {
			return 0, fmt.Errorf("look for a torn line: %w", err)
		}
		for i := n - 1; i >= 0; i-- {
			if buf[i] == '\n' {
				return size - n + i + 1, nil
			}
		}
		size -= n
	}
	return 0, nil
}

// syncDir makes the names in the directory durable.
func (s *Sink) syncDir() error {
	d, err := s.open(filepath.Dir(s.o.Path), os.O_RDONLY)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
