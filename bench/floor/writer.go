package floor

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A writer takes requests through a channel: all that waits is one write and one fdatasync.
type writer struct {
	file     *os.File
	requests chan *request
	ended    chan error
	pages    atomic.Int64 // bytes written, in whole pages
	syncs    atomic.Int64
}

// A request is some bodies; the answer comes when they are on disk.
type request struct {
	body   []byte
	answer chan error // capacity 1
}

// room is what the file has preallocated beyond its items.
const room = 8 << 20

// open starts one whose file has room for size bytes; beyond, it grows.
func open(dir string, size int64) (*writer, error) {
	f, err := os.Create(filepath.Join(dir, "floor"))
	if err != nil {
		return nil, err
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, size+room)
	if err = errors.Join(err, f.Sync()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	w := &writer{file: f, requests: make(chan *request, 4096), ended: make(chan error, 1)}
	go func() { w.ended <- w.run() }()
	return w, nil
}

// close ends the writer, which nobody may use any more.
func (w *writer) close() error {
	close(w.requests)
	return errors.Join(<-w.ended, w.file.Close())
}

// group bounds what one write holds, in bytes.
const group = 4 << 20

// run gathers what waits, until there is nothing more or the group is full.
func (w *writer) run() (err error) {
	var buf []byte
	var waiting []*request
	off := int64(0)
	for r := range w.requests {
		buf, waiting = append(buf[:0], r.body...), append(waiting[:0], r)
		for more := true; more && len(buf) < group; {
			select {
			case r, open := <-w.requests:
				if more = open; open {
					buf, waiting = append(buf, r.body...), append(waiting, r)
				}
			default:
				more = false
			}
		}
		if err == nil {
			err = w.store(buf, off)
		}
		off += int64(len(buf))
		for _, r := range waiting {
			r.answer <- err
		}
	}
	return err
}

func (w *writer) store(buf []byte, off int64) error {
	if _, err := w.file.WriteAt(buf, off); err != nil {
		return err
	}
	w.pages.Add((off+int64(len(buf))+4095)/4096*4096 - off/4096*4096)
	w.syncs.Add(1)
	return unix.Fdatasync(int(w.file.Fd()))
}
