package recovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"holdfast/store"
)

// quarantineName is the directory of originals. Nothing here ever deletes in it: that is for an operator.
const quarantineName = "quarantine"

// A quarantine keeps the originals of what is damaged, in one directory per start: quarantine/<time>/. It is safe for
// concurrent use.
type quarantine struct {
	dir   string // of the store
	bound int64  // bytes; beyond it only what is damaged of a file is kept
	log   *slog.Logger
	read  func(f *os.File, b []byte, off int64) (int, error) // of originals: as ReadAt

	mu     sync.Mutex
	to     string // this start's; empty: nothing was kept yet. Guarded by mu
	report string // the file of this start's report; empty: there is none yet. Guarded by mu
}

// place returns this start's directory; empty: nothing was kept.
func (q *quarantine) place() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.to
}

// keep makes a file's bytes durable in quarantine before they are lost in place: by another name of the same file, or by
// a copy if the file changes in place later on, or cannot have another name. An earlier start may have done it, and died
// before it changed anything: then its directory is this start's too.
//
// Another name takes no room, so it is given beyond the bound too. Of a file that changes only the damaged parts are kept
// beyond it, and of any where the disk has no room for a copy: in a file that is zeros elsewhere. They are given by
// offset, size bytes each. Without any the file is kept whole.
func (q *quarantine) keep(path string, changes bool, damaged []int64, size int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.keepLocked(path, changes, damaged, size); err != nil {
		return fmt.Errorf("quarantine: %w", err)
	}
	return nil
}

func (q *quarantine) keepLocked(path string, changes bool, damaged []int64, size int) error {
	to, err := q.kept(path, changes)
	if err != nil {
		return err
	}
	if to != "" {
		q.to = to
		return nil
	}
	if q.to != "" {
		return q.keepIn(q.to, path, changes, damaged, size)
	}
	if to, err = q.newPlace(); err != nil {
		return err
	}
	if err := q.keepIn(to, path, changes, damaged, size); err != nil {
		_ = os.Remove(to) // unless something is in it: not one more directory with each start that fails
		return err
	}
	q.to = to
	return nil
}

// newPlace makes a directory for this start.
func (q *quarantine) newPlace() (to string, err error) {
	to = filepath.Join(q.dir, quarantineName, time.Now().UTC().Format("20060102T150405.000000000Z"))
	if err := makeDir(to); err != nil {
		return "", err
	}
	return to, namesLast(to)
}

// keepIn keeps a file in a directory of quarantine, beside what was kept of it before.
func (q *quarantine) keepIn(to, path string, changes bool, damaged []int64, size int) error {
	name, err := freeName(to, filepath.Base(path))
	if err != nil {
		return err
	}
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := q.preserve(path, name, changes, fi.Size(), damaged, size); err != nil {
		return err
	}
	return store.SyncDir(to)
}

// keptName is the name of the i-th original of a file in a directory, from 1 on: a file may be damaged again after it
// grew.
func keptName(dir, base string, i int) string {
	if i > 1 {
		base = fmt.Sprintf("%s.%d", base, i)
	}
	return filepath.Join(dir, base)
}

func freeName(dir, base string) (string, error) {
	for i := 1; ; i++ {
		name := keptName(dir, base, i)
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", err
		}
	}
}

// preserve keeps a file by another name, or a copy of it, or of its damaged parts.
func (q *quarantine) preserve(path, name string, changes bool, length int64, damaged []int64, size int) error {
	if !changes && os.Link(path, name) == nil {
		return nil
	}
	held := heldBytes(q.dir)
	if !changes || held+length <= q.bound || len(damaged) == 0 {
		err := q.copyFile(path, name)
		if len(damaged) == 0 || !noRoom(err) {
			return err
		}
	}
	q.log.Warn("quarantine is full: only the damaged parts are kept; look through it, and delete what is not needed", "dir",
		filepath.Join(q.dir, quarantineName), "bytes", held, "n", len(damaged))
	return q.copyParts(path, name, length, damaged, size)
}

// noRoom reports whether the disk has no room.
func noRoom(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// kept returns where in quarantine the same bytes are already; empty: nowhere. Another name of the same file does not keep
// them if the file changes.
func (q *quarantine) kept(path string, changes bool) (string, error) {
	root := filepath.Join(q.dir, quarantineName)
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for _, e := range entries {
		to := filepath.Join(root, e.Name())
		same, err := q.keptIn(to, path, changes)
		if err != nil {
			return "", err
		}
		if same {
			return to, nil
		}
	}
	return "", nil
}

func (q *quarantine) keptIn(dir, path string, changes bool) (bool, error) {
	for i := 1; ; i++ {
		name := keptName(dir, filepath.Base(path), i)
		if changes && oneName(path, name) {
			continue
		}
		same, err := q.sameFile(path, name)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			return false, nil
		case same, err != nil:
			return same, err
		}
	}
}

// oneName reports whether two names are of one file.
func oneName(path, other string) bool {
	a, aerr := os.Lstat(path)
	b, berr := os.Lstat(other)
	return aerr == nil && berr == nil && os.SameFile(a, b)
}

// heldBytes is what quarantine takes, as far as it can be listed. What has a name elsewhere too takes nothing of its own.
func heldBytes(dir string) (n int64) {
	_ = filepath.WalkDir(filepath.Join(dir, quarantineName), func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil
		}
		if fi, err := e.Info(); err == nil && store.Links(fi) == 1 {
			n += fi.Size()
		}
		return nil
	})
	return n
}

// tell leaves the report beside the originals, or in a directory of its own where no original is left. It is for people:
// that it cannot be written is told, and no more.
func (s *start) tell(r *Report) {
	if !r.bad() && r.Quarantine == "" {
		return
	}
	path, err := s.kept.reportPath()
	if err == nil {
		r.Quarantine = filepath.Dir(path)
		err = r.write(path)
	}
	if err != nil {
		s.log.Warn("the report could not be written to quarantine", "dir", r.Quarantine, "err", err)
	}
}

func (r *Report) write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(path, append(text, '\n'), 0o600), store.SyncDir(filepath.Dir(path)))
}

// reportPath is where this start's report belongs: not in place of one that an earlier start left beside the same originals.
func (q *quarantine) reportPath() (string, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.report != "" {
		return q.report, nil
	}
	if q.to == "" {
		to, err := q.newPlace()
		if err != nil {
			return "", err
		}
		q.to = to
	}
	path := filepath.Join(q.to, "report.json")
	for i := 2; ; i++ {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return "", err
		}
		path = filepath.Join(q.to, fmt.Sprintf("report.%d.json", i))
	}
	q.report = path
	return path, nil
}
