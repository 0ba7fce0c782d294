// Package recovery opens a store after whatever happened to it: a crash, a power cut, a failed flush, a wrong
// directory. It makes the directory if there is none, takes its lock, removes what an interrupted step left, sees to it
// that what is read is also what the disk has, and says by number what was kept and what was not.
//
// Damage beyond what a power cut leaves is told exactly and refused: nothing is changed then.
//
// # Decisions
//
// 2026-11-25: Open returns the opened store, instead of a step before store.Open. The tail can be appended again only
// by the log that scanned it, and so a caller cannot forget either half.
package recovery

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/uuid"

	"holdfast/store"
)

// Options are what Open takes beside the directory. The zero value is production.
type Options struct {
	Store store.Options
	Log   *slog.Logger // nil: discarded
}

// A Report says by number what a start found. Everything is zero after a stop in order.
type Report struct {
	Created     bool          `json:"created"`                // the directory held no store
	Unclean     bool          `json:"unclean"`                // the last process did not close it
	Kept        int           `json:"kept"`                   // items of the last group commit that were made durable again
	Unconfirmed int           `json:"unconfirmed"`            // items of it that did not check: their producers had no answer
	Lost        int           `json:"lost"`                   // items that were known to be durable and are not there
	RolledBack  bool          `json:"rolled_back"`            // queues.db went back to an older commit: the disk broke its word
	Quarantine  string        `json:"quarantine,omitempty"`   // where the originals of what was damaged are kept
	Swept       int           `json:"swept"`                  // temporary files removed
	SkippedKeys int           `json:"skipped_keys,omitempty"` // damaged files of idempotency keys: what they knew is forgotten
	Took        time.Duration `json:"took_ns"`
}

// Open opens the store in the directory at path, and creates it if there is none: see the package comment. What it
// returns owns the directory's lock until it is closed. Errors: *store.LockedError, *store.FormatError,
// *store.DamageError, a *NotDirError, and those of the file system. No sink is needed.
func Open(path string, o Options) (*store.Store, Report, error) {
	began, log := time.Now(), o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var r Report
	dir, err := lock(path)
	if err != nil {
		return nil, r, err
	}
	tmp, err := prepare(dir, &r)
	if err != nil {
		return nil, r, errors.Join(err, dir.Close())
	}
	st, err := store.Open(dir, o.Store)
	if err != nil {
		return nil, r, err
	}
	if err := sweep(dir.Path(), tmp); err != nil {
		return nil, r, errors.Join(err, st.Close())
	}
	r.SkippedKeys = st.SkippedKeys()
	tail := st.Tail()
	r.Unclean, r.Kept, r.Unconfirmed, r.Lost = tail.Unclean, tail.Kept, tail.Unconfirmed, tail.Lost
	if tail.Unclean {
		if err := st.RewriteTail(); err != nil {
			return nil, r, errors.Join(fmt.Errorf("append the tail again: %w", err), st.Close())
		}
	}
	r.Took = time.Since(began)
	r.log(log, path)
	return st, r, nil
}

// prepare does what must be done before the files are opened. It returns the temporary files that are to go after that.
func prepare(dir *store.Dir, r *Report) (tmp []string, err error) {
	if err = refuseLinks(dir.Path()); err != nil {
		return nil, err
	}
	if tmp, err = leftovers(dir.Path()); err != nil {
		return nil, err
	}
	r.Swept = len(tmp)
	found, err := store.Exists(dir.Path())
	if err != nil {
		return nil, err
	}
	if !found {
		r.Created = true
		return tmp, store.Create(dir, uuid.New())
	}
	return tmp, rewriteMetas(dir.Path(), r)
}

// A NotDirError says that something else is where the data directory should be.
type NotDirError struct{ Path string }

func (e *NotDirError) Error() string { return e.Path + " is not a directory" }

// lock makes the directory, durably, and takes its lock. A path that is a symbolic link is followed once.
func lock(path string) (*store.Dir, error) {
	if err := makeDir(path); err != nil {
		return nil, err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	return store.LockDir(real)
}

// makeDir makes a directory with its parents, each durable in the one above.
func makeDir(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &NotDirError{path}
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR): // ENOTDIR: one of the parents is a file
		return fmt.Errorf("data directory: %w", err)
	}
	parent := filepath.Dir(path)
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("data directory: %w", err)
	}
	return store.SyncDir(parent)
}

func (r *Report) log(log *slog.Logger, path string) {
	if r.SkippedKeys > 0 {
		log.Warn("damaged files of idempotency keys are skipped", "dir", path, "files", r.SkippedKeys)
	}
	switch {
	case r.Created:
		log.Info("store created", "dir", path, "elapsed", r.Took)
	case r.Lost > 0 || r.RolledBack:
		log.Error("store recovered with losses", "dir", path, "kept", r.Kept, "lost", r.Lost, "unconfirmed", r.Unconfirmed,
			"rolled_back", r.RolledBack, "quarantine", r.Quarantine, "elapsed", r.Took)
	case r.Unclean:
		log.Info("store recovered", "dir", path, "kept", r.Kept, "unconfirmed", r.Unconfirmed, "elapsed", r.Took)
	default:
		log.Info("store opened", "dir", path, "elapsed", r.Took)
	}
}
