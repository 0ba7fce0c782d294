package recovery

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"holdfast/store"
)

// A logHealer deals with damage of the log, which the store finds, at the start and as long as it is open: it keeps the
// originals, and tells. What the start finds is in its report; what readers meet later is in the report that is beside the
// originals, and in Store.Healed.
type logHealer struct {
	start *start

	mu    sync.Mutex
	later *Report // guarded by mu; nil: it is still the start
}

// readPatience is how long a read may fail before it counts as damage, readAgain the time between tries.
const readPatience, readAgain = time.Minute, time.Second

// open opens the store, and takes the time that a disk may need to read.
func (h *logHealer) open(dir *store.Dir, o store.Options) (st *store.Store, err error) {
	o.Quarantine, o.Healed = h.quarantine, h.healed
	err = h.start.patiently(func() (err error) {
		if dir == nil {
			if dir, err = store.LockDir(h.start.dir); err != nil {
				return err
			}
		}
		o.GiveUp = h.start.giveUp
		st, err = h.start.openStore(dir, o)
		dir = nil // Open gave it back
		return err
	})
	return st, err
}

// patiently tries again what fails because the disk does not read, for readPatience. The last try has giveUp set.
func (s *start) patiently(try func() error) error {
	s.giveUp = false
	for began := time.Now(); ; {
		err := try()
		if !s.unread(err) || s.giveUp {
			return err
		}
		s.log.Warn("the disk does not read, it will be tried again", "dir", s.dir, "err", err)
		if s.giveUp = time.Since(began) >= readPatience; !s.giveUp {
			time.Sleep(readAgain)
		}
	}
}

// unread reports whether an error is that of a read of the log or of queues.db from the disk, and not of a write or a
// flush: those are final.
func (s *start) unread(err error) bool {
	p, ok := errors.AsType[*fs.PathError](err)
	return ok && p.Op == "read" && errors.Is(p.Err, syscall.EIO) && (p.Path == s.queuesPath() || filepath.Dir(p.Path) == filepath.Join(s.dir, logName))
}

func (h *logHealer) quarantine(path string, changes bool) error {
	return h.start.kept.keep(path, changes, nil, 0)
}

func (h *logHealer) healed(x store.Healing) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.start.report
	if h.later != nil {
		r = h.later
	}
	*r = r.With(x)
	if x.Path == "" {
		h.start.log.Error("a segment is missing", "dir", h.start.dir, "seqs", x.Missing, "lost", x.Lost, "more_may_be_lost", x.Unknown)
	} else {
		r.Quarantine, r.Damaged = h.start.kept.place(), append(r.Damaged, filepath.Base(x.Path))
		h.start.log.Error("a segment is damaged: what checks of it is kept in place", "path", x.Path, "err", x.Cause, "kept", x.Kept, "lost", x.Lost,
			"quarantine", r.Quarantine)
	}
	if h.later != nil {
		h.start.tell(r)
	}
}

// started says that the start is over: its report is the caller's.
func (h *logHealer) started() {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := *h.start.report
	r.Damaged = slices.Clone(r.Damaged)
	h.later = &r
}

// report is that of the start, with what was met since.
func (h *logHealer) report() Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := *h.later
	r.Damaged = slices.Clone(r.Damaged)
	return r
}
