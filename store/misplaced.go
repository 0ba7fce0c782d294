package store

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A MisplacedError is damage of the log: a whole segment of another store, or one that has not its own name, or files that
// are no segments. See Settle.
type MisplacedError struct {
	Damage  *DamageError
	UUID    [16]byte // of the store
	Guessed bool     // only segments tell whose store this is
	Blank   []string // paths of files that are no segments, nor where one has to be
}

func (e *MisplacedError) Error() string { return e.Damage.Error() }
func (e *MisplacedError) Unwrap() error { return e.Damage }

// Words for what is misplaced.
const whatStranger, whatMisnamed = "the segment belongs to another store", "the header says that this is "

// byName makes a segment of a file whose header checks and says that it is another one, if its blocks say that it is the
// one of its name: then the header was written to the wrong place. nil: they do not.
func (l *segmentLog) byName(f *os.File, path string) (*segment, error) {
	g, err := l.headless(f, path, &DamageError{Path: path})
	if err != nil {
		return nil, nil // its name is none
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	s, err := l.survey(g, f, fi.Size(), 0)
	if err != nil || len(s.found) == 0 {
		return nil, err
	}
	return g, nil
}

// misplaced is the error for a segment that is not ours, or has not its name; nil: it has.
func (l *segmentLog) misplaced(h *segmentHeader, path string) *DamageError {
	if h.UUID != l.uuid {
		return &DamageError{Path: path, Offset: 16, What: whatStranger}
	}
	if name := segmentName(h.Serial, h.First) + ".log"; name != filepath.Base(path) {
		return &DamageError{Path: path, Offset: 32, What: whatMisnamed + name}
	}
	return nil
}

// A Settling says what Settle did, by the names of files.
type Settling struct {
	Renamed []string // segments that have their own name again
	Aside   []string // segments of another store, second ones of a name, what is no segment: they are in quarantine, and no more in the log
}

// Settle gives segments their own names again, and takes what is not the store's out of its log: keep makes the bytes of
// a file durable elsewhere before its name goes. Each step is whole; after a crash it goes on. Where no segment is the
// store's, or nothing but segments tells whose store this is and they do not agree, nothing is done and the error is e: it
// may be queues.db that is of another store. Nobody may have the store open.
func Settle(dir string, e *MisplacedError, keep func(path string) error) (done Settling, err error) {
	l := &segmentLog{dir: filepath.Join(dir, logDir), uuid: e.UUID, ops: diskOps()}
	for _, path := range e.Blank {
		if err := l.takeOut(path, keep, &done); err != nil {
			return done, fmt.Errorf("settle the log: %w", err)
		}
	}
	for steps := 0; ; steps++ {
		files, err := l.headers()
		if err != nil {
			return done, fmt.Errorf("settle the log: %w", err)
		}
		i := slices.IndexFunc(files, func(f headerFile) bool { return f.stray || f.name != f.right })
		switch {
		case i < 0:
			return done, nil
		case !settles(files, e.Guessed), steps > 2*len(files):
			return done, e
		}
		if err := l.settleOne(&files[i], files, keep, &done); err != nil {
			return done, fmt.Errorf("settle the log: %w", err)
		}
	}
}

// settles reports whether it is known whose segments belong here.
func settles(files []headerFile, guessed bool) bool {
	strays := 0
	for _, f := range files {
		if f.stray {
			strays++
		}
	}
	return strays < len(files) && (strays == 0 || !guessed)
}

// A headerFile is a segment whose header checks, and is its own.
type headerFile struct {
	name, right string // right is the name that the header says
	stray       bool   // of another store
}

// headers lists the segments whose headers check. Those that were written over the header of another segment are left
// out.
func (l *segmentLog) headers() (files []headerFile, err error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".log") || !e.Type().IsRegular() {
			continue
		}
		f, err := os.Open(filepath.Join(l.dir, e.Name()))
		if err != nil {
			return nil, err
		}
		h, _, herr := readHeader(f, f.Name())
		own := herr == nil
		if own && l.misplaced(h, f.Name()) != nil {
			g, err := l.byName(f, f.Name())
			if err != nil {
				return nil, errors.Join(err, f.Close())
			}
			own = g == nil
		}
		if own {
			files = append(files, headerFile{e.Name(), segmentName(h.Serial, h.First) + ".log", h.UUID != l.uuid})
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(files, func(a, b headerFile) int { return cmp.Compare(a.name, b.name) })
	return files, nil
}

func (l *segmentLog) settleOne(f *headerFile, files []headerFile, keep func(path string) error, done *Settling) error {
	path, right := filepath.Join(l.dir, f.name), filepath.Join(l.dir, f.right)
	_, err := os.Lstat(right)
	taken := slices.ContainsFunc(files, func(o headerFile) bool { return o.name == f.right && (o.stray || o.right != o.name) })
	switch {
	case !f.stray && errors.Is(err, fs.ErrNotExist):
		err = l.ops.rename(l.dir, f.name, f.right)
		done.Renamed = append(done.Renamed, f.right)
	case !f.stray && err == nil && taken:
		err = swapNames(path, right)
		done.Renamed = append(done.Renamed, f.right)
	case f.stray, err == nil:
		return l.takeOut(path, keep, done)
	}
	if err != nil {
		return err
	}
	return SyncDir(l.dir)
}

// takeOut takes a file out of the log after it was kept.
func (l *segmentLog) takeOut(path string, keep func(path string) error, done *Settling) error {
	if err := keep(path); err != nil {
		return err
	}
	done.Aside = append(done.Aside, filepath.Base(path))
	return errors.Join(l.ops.remove(path), SyncDir(l.dir))
}
