package recovery

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"holdfast/store"
)

// copyPage is what is given up of a file where the disk does not read.
const copyPage = 4 << 10

// A softFile is a file of which the pages that the disk does not give are zeros. It is read below its size.
type softFile struct {
	file *os.File
	read func(f *os.File, b []byte, off int64) (int, error)
}

func (s softFile) ReadAt(b []byte, off int64) (int, error) {
	n, err := s.read(s.file, b, off)
	if !errors.Is(err, syscall.EIO) {
		return n, err
	}
	for n = 0; n < len(b); {
		at := off + int64(n)
		page := b[n:min(len(b), n+int(copyPage-at%copyPage))]
		m, err := s.read(s.file, page, at)
		if errors.Is(err, syscall.EIO) {
			clear(page)
			m, err = len(page), nil
		}
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// original reads a file that may be damaged, as it is now.
func (q *quarantine) original(f *os.File) (*io.SectionReader, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(softFile{f, q.read}, 0, fi.Size()), nil
}

// sameFile compares what two files hold, and makes the second one durable if that is the same. One that the disk does not
// give is not the same.
func (q *quarantine) sameFile(path, other string) (bool, error) {
	a, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := os.Open(other)
	if err != nil {
		return false, err
	}
	defer b.Close()
	if !oneName(path, other) {
		if same, err := q.sameBytes(a, b); !same || err != nil {
			return false, err
		}
	}
	return true, errors.Join(b.Sync(), store.SyncDir(filepath.Dir(other)))
}

func (q *quarantine) sameBytes(a, b *os.File) (bool, error) {
	r, err := q.original(a)
	if err != nil {
		return false, err
	}
	x, y := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, aerr := io.ReadFull(r, x)
		m, berr := io.ReadFull(b, y)
		switch {
		case aerr != nil && !ended(aerr):
			return false, aerr
		case errors.Is(berr, syscall.EIO):
			return false, nil
		case berr != nil && !ended(berr):
			return false, berr
		case !bytes.Equal(x[:n], y[:m]):
			return false, nil
		case aerr != nil:
			return true, nil
		}
	}
}

func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// copyFile makes a file with the bytes of another. What the disk does not give of them is zeros.
func (q *quarantine) copyFile(from, to string) error {
	return q.copy(from, to, func(dst *os.File, src *io.SectionReader) error {
		_, err := io.Copy(dst, src)
		return err
	})
}

// copyParts makes a file as long as another, with some parts of it. What the disk does not give of them is zeros.
func (q *quarantine) copyParts(from, to string, length int64, parts []int64, size int) error {
	return q.copy(from, to, func(dst *os.File, src *io.SectionReader) error {
		err := dst.Truncate(length)
		part := make([]byte, size)
		for _, off := range parts {
			n, rerr := src.ReadAt(part, off)
			if rerr != nil && !ended(rerr) {
				return errors.Join(err, rerr)
			}
			_, werr := dst.WriteAt(part[:n], off)
			err = errors.Join(err, werr)
		}
		return err
	})
}

// copy makes a file, which gets its name when it is whole and durable, but for the name. After an error there is none.
func (q *quarantine) copy(from, to string, fill func(dst *os.File, src *io.SectionReader) error) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	src, err := q.original(f)
	if err != nil {
		return err
	}
	tmp := to + ".tmp"
	dst, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err = errors.Join(fill(dst, src), dst.Sync(), dst.Close()); err == nil {
		err = os.Rename(tmp, to)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}
