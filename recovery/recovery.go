// Package recovery opens a store after whatever happened to it: a crash, a power cut, a failed flush, a wrong
// directory. It makes the directory if there is none, takes its lock, removes what an interrupted step left, sees to it
// that what is read is also what the disk has, and says by number what was kept and what was not.
//
// Damage is healed, and the originals are kept in quarantine before anything is changed. A damaged queues.db is made anew
// of what checks of it, and of the log. Of a damaged segment every item that checks is kept, in place; what is lost is
// settled as lost. Damage of what a start does not read is healed the same way by whoever reads it. A segment that has the
// name of another one gets its own back, and what is not the store's goes to quarantine. A log that is missing as a
// whole is refused, unless an operator has it salvaged. Where queues.db and segments are gone together, what nothing tells
// any more is reported as that.
//
// # Decisions
//
// 2026-11-25: Open returns the opened store, instead of a step before store.Open. The tail can be appended again only
// by the log that scanned it, and so a caller cannot forget either half.
package recovery

import (
	"cmp"
	"context"
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

	// QuarantineBytes is how much is kept of what was damaged; beyond it only the damaged parts are. 0: 256 MiB.
	QuarantineBytes int64
}

// A Report says by number what a start found. Everything is zero after a stop in order.
type Report struct {
	Created     bool          `json:"created"`                    // the directory held no store
	Unclean     bool          `json:"unclean"`                    // the last process did not close it
	Kept        int           `json:"kept"`                       // items of the last group commit that were made durable again, and those of damaged segments that check
	Unconfirmed int           `json:"unconfirmed"`                // items of it that did not check: their producers had no answer
	Lost        int           `json:"lost"`                       // items that were known to be durable, were owed, and are not there
	AtLeast     bool          `json:"more_may_be_lost,omitempty"` // more than those may be lost: nothing tells how many
	Uncertain   int           `json:"uncertain,omitempty"`        // items that are not there, and of which nothing tells whether they were still owed
	RolledBack  bool          `json:"rolled_back"`                // queues.db may be an older commit: the disk broke its word
	Quarantine  string        `json:"quarantine,omitempty"`       // where the originals of what was damaged are kept, and this report
	Damaged     []string      `json:"damaged,omitempty"`          // names of damaged segments
	Renamed     []string      `json:"renamed,omitempty"`          // names of segments that had another one's
	Aside       []string      `json:"aside,omitempty"`            // names of files that were in the log and are no segments of this store: they are in quarantine
	Swept       int           `json:"swept"`                      // temporary files removed
	SkippedKeys int           `json:"skipped_keys,omitempty"`     // damaged files of idempotency keys: what they knew is forgotten
	Took        time.Duration `json:"took_ns"`

	Queues *QueuesReport `json:"queues,omitempty"` // nil: queues.db was in order
}

// Open opens the store in the directory at path, and creates it if there is none: see the package comment. What it
// returns owns the directory's lock until it is closed. Errors: *store.LockedError, *store.FormatError,
// *store.DamageError, a *NotDirError, and those of the file system. No sink is needed.
func Open(path string, o Options) (*store.Store, Report, error) {
	st, r, _, err := open(path, o, false)
	return st, r, err
}

// open is Open; forGood says that a directory of the log that is missing is gone for good.
func open(path string, o Options, forGood bool) (*store.Store, Report, *logHealer, error) {
	began, log := time.Now(), o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var r Report
	dir, err := lock(path)
	if err != nil {
		return nil, r, nil, err
	}
	s := newStart(dir.Path(), log, cmp.Or(o.QuarantineBytes, 256<<20), &r)
	s.forGood = forGood
	tmp, err := s.prepare(dir)
	if err != nil {
		return nil, r, nil, errors.Join(err, dir.Close())
	}
	h := &logHealer{start: s}
	st, err := h.open(dir, o.Store)
	if err != nil {
		return nil, r, nil, err
	}
	if err := sweep(dir.Path(), tmp); err != nil {
		return nil, r, nil, errors.Join(err, st.Close())
	}
	r.SkippedKeys = st.SkippedKeys()
	tail := st.Tail()
	r.Unclean, r.Kept, r.Unconfirmed = tail.Unclean, r.Kept+tail.Kept, tail.Unconfirmed
	if tail.Unclean {
		if err := st.RewriteTail(); err != nil {
			return nil, r, nil, errors.Join(fmt.Errorf("append the tail again: %w", err), st.Close())
		}
	}
	r.Took = time.Since(began)
	s.tell(&r)
	h.started()
	r.log(log, path)
	return st, r, h, nil
}

func newStart(dir string, log *slog.Logger, bound int64, r *Report) *start {
	kept := &quarantine{dir: dir, bound: bound, log: log, read: (*os.File).ReadAt}
	return &start{dir: dir, log: log, report: r, kept: kept, checkMetas: store.CheckMetas, open: store.Open}
}

// prepare does what must be done before the files are opened. It returns the temporary files that are to go after that.
func (s *start) prepare(dir *store.Dir) (tmp []string, err error) {
	if tmp, err = leftovers(dir.Path()); err != nil {
		return nil, err
	}
	s.report.Swept = len(tmp)
	found, err := store.Exists(dir.Path())
	if err != nil {
		return nil, err
	}
	if !found {
		s.report.Created = true
		if err := namesLast(dir.Path()); err != nil {
			return nil, err
		}
		return tmp, store.Create(dir, uuid.New())
	}
	if err := s.makeLog(); err != nil {
		return nil, err
	}
	return tmp, s.settled(func() error { return s.patiently(s.prepareQueues) })
}

// A NotDirError says that something else is where the data directory should be.
type NotDirError struct{ Path string }

func (e *NotDirError) Error() string { return e.Path + " is not a directory" }

// lock makes the directory and takes its lock. A path that is a symbolic link is followed once.
func lock(path string) (*store.Dir, error) {
	if err := makeDir(path); err != nil {
		return nil, err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := refuseUnfit(real); err != nil {
		return nil, err
	}
	return store.LockDir(real)
}

// makeDir makes a directory with its parents. Their names are durable after namesLast.
func makeDir(path string) error {
	err := os.MkdirAll(path, 0o700)
	if e, ok := errors.AsType[*fs.PathError](err); ok && errors.Is(err, syscall.ENOTDIR) {
		return &NotDirError{e.Path}
	}
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// namesLast makes the names of a directory and of those above it durable, before something in it counts: one that is
// there may be of an earlier start, which died before it had synced it. What may not be read, or cannot be synced, is
// not ours.
func namesLast(path string) error {
	for path != filepath.Dir(path) {
		path = filepath.Dir(path)
		err := store.SyncDir(path)
		foreign := errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EINVAL)
		if err != nil && !foreign {
			return fmt.Errorf("data directory: %w", err)
		}
	}
	return nil
}

// With is the report with damage of the log that was met later on.
func (r Report) With(h store.Healing) Report {
	r.Kept, r.Lost, r.AtLeast = r.Kept+h.Kept, r.Lost+h.Lost, r.AtLeast || h.Unknown
	return r
}

// bad reports whether something was damaged, or is missing.
func (r *Report) bad() bool {
	return r.loses() || len(r.Damaged)+len(r.Renamed)+len(r.Aside) > 0 || r.Queues != nil
}

// loses reports whether something is lost, or may be.
func (r *Report) loses() bool { return r.Lost > 0 || r.AtLeast || r.Uncertain > 0 || r.RolledBack }

func (r *Report) log(log *slog.Logger, path string) {
	if r.SkippedKeys > 0 {
		log.Warn("damaged files of idempotency keys are skipped", "dir", path, "files", r.SkippedKeys)
	}
	switch {
	case r.Created:
		log.Info("store created", "dir", path, "elapsed", r.Took)
	case r.bad():
		level, msg := slog.LevelWarn, "store recovered after damage"
		if r.loses() {
			level, msg = slog.LevelError, "store recovered with losses"
		}
		log.Log(context.Background(), level, msg, "dir", path, "kept", r.Kept, "lost", r.Lost, "at_least", r.AtLeast, "uncertain", r.Uncertain,
			"unconfirmed", r.Unconfirmed, "rolled_back", r.RolledBack, "quarantine", r.Quarantine, "elapsed", r.Took)
	case r.Unclean:
		log.Info("store recovered", "dir", path, "kept", r.Kept, "unconfirmed", r.Unconfirmed, "elapsed", r.Took)
	default:
		log.Info("store opened", "dir", path, "elapsed", r.Took)
	}
}
