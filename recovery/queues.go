package recovery

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"holdfast/store"
)

// A QueuesReport says by number what queues.db was made of, where the start had to make it anew.
type QueuesReport struct {
	Damage   string   `json:"damage"`            // what was found first
	Rows     int      `json:"rows"`              // rows kept as they were
	Repeated int      `json:"repeated"`          // deliveries that may have been settled, and are made again
	Rewound  []string `json:"rewound,omitempty"` // sinks whose stream begins again at an earlier item
	Bodies   int      `json:"bodies"`            // items outside the log that were kept
	Missing  int      `json:"missing"`           // items outside the log that did not check; the log may have them still
	Lost     int      `json:"lost"`              // of them those that were owed, and that are in no segment
	Unknown  bool     `json:"unknown,omitempty"` // nothing tells how many items there were outside the log: some may be lost
	BadPages int      `json:"bad_pages"`         // pages in use that did not check
}

// prepareQueues makes sure that the disk has the meta pages of queues.db that were read: after a failed flush the page
// cache may show what the disk does not have. No crash leaves one of them invalid, or txids further apart than one: then
// the disk broke its word, and queues.db may silently be an older commit. That is told, and the file is made anew: of the
// newest commit that is there, or else of an older one, which repeats deliveries with the same ids.
func (s *start) prepareQueues() error {
	path := s.queuesPath()
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return s.healQueues(&store.DamageError{Path: path, Offset: -1, What: "it is missing, but the log has segments"})
	}
	metas, err := s.checkMetas(path)
	if damage := s.ofQueues(err); damage != nil {
		return s.healQueues(damage)
	}
	if err != nil {
		return err
	}
	if !metas.Valid[0] && !metas.Valid[1] {
		return s.healQueues(&store.DamageError{Path: path, Offset: 0, What: "neither of its meta pages is valid"})
	}
	if !metas.OK() {
		return s.healQueues(&store.DamageError{Path: path, Offset: 0, What: "its meta pages are not two commits that follow each other"})
	}
	err = store.RewriteMetas(path)
	if damage := s.ofQueues(err); damage != nil {
		return s.healQueues(damage)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return s.healQueues(&store.DamageError{Path: path, Offset: 0, What: "it is cut off within its meta pages"})
	}
	return err
}

func (s *start) queuesPath() string { return filepath.Join(s.dir, queuesName) }

// ofQueues returns an error that is damage of queues.db, else nil. It is damage too that the disk does not give it, after
// that was tried for long enough.
func (s *start) ofQueues(err error) error {
	if d, damaged := errors.AsType[*store.DamageError](err); damaged && d.Path == s.queuesPath() {
		return err
	}
	if p, ok := errors.AsType[*fs.PathError](err); ok && s.giveUp && s.unread(err) && p.Path == s.queuesPath() {
		return &store.DamageError{Path: p.Path, Offset: -1, What: "it cannot be read"}
	}
	return nil
}

// healQueues makes queues.db anew of what checks of it, and of the log. The original is kept before. A crash finds the
// damaged file, or the new one.
func (s *start) healQueues(cause error) error {
	plan, err := store.PlanRebuild(s.dir, uuid.New(), s.giveUp)
	if err != nil {
		return err
	}
	defer func() { _ = plan.Close() }() // they were only read
	if err := store.Placed(s.dir, s.giveUp); err != nil {
		return err
	}
	sums := plan.Rebuilt()
	if _, err := os.Lstat(s.queuesPath()); err == nil {
		if err := s.kept.keep(s.queuesPath(), false, sums.BadPages, int(sums.PageSize)); err != nil {
			return err
		}
		s.report.Quarantine = s.kept.place()
	}
	s.report.Queues = &QueuesReport{Damage: cause.Error(), Rows: sums.Rows, Repeated: sums.Repeated, Rewound: sums.Rewound,
		Bodies: sums.Bodies, Missing: sums.Missing, Lost: sums.Lost, Unknown: sums.Uncounted, BadPages: len(sums.BadPages)}
	s.report.Lost, s.report.Uncertain = s.report.Lost+sums.Lost+sums.Gone, s.report.Uncertain+sums.Uncertain
	s.report.RolledBack, s.report.AtLeast = s.report.RolledBack || sums.Older, s.report.AtLeast || sums.Uncounted
	s.tell(s.report) // afterwards the new file knows what is lost, and the next start does not tell it
	if err := plan.Write(); err != nil {
		return fmt.Errorf("heal %s: %w", s.queuesPath(), err)
	}
	q := s.report.Queues
	s.log.Error("the queues were damaged and are made anew: some deliveries may be repeated", "err", cause, "rows", q.Rows, "repeated", q.Repeated,
		"rewound", q.Rewound, "bodies", q.Bodies, "lost", sums.Lost+sums.Gone, "at_least", sums.Uncounted, "uncertain", sums.Uncertain,
		"quarantine", s.report.Quarantine)
	return nil
}

// A start is one opening of a store under way.
type start struct {
	dir    string
	log    *slog.Logger
	kept   *quarantine
	report *Report
	giveUp bool // what the disk does not give is damage: see patiently

	forGood bool // a directory of the log that is missing is gone for good

	// The first reads of queues.db: store.CheckMetas and store.Open.
	checkMetas func(path string) (store.MetaReport, error)
	open       func(*store.Dir, store.Options) (*store.Store, error)
}

// openStore opens the store, and makes queues.db anew where it turns out to be damaged, and brings segments to where they
// belong: each as often as it has to be, if nothing else happens.
func (s *start) openStore(dir *store.Dir, o store.Options) (*store.Store, error) {
	open := s.open
	for tries := 0; ; tries++ {
		st, err := open(dir, o)
		damage, misplaced := s.ofQueues(err), misplacedIn(err)
		if damage == nil && misplaced == nil || tries == 3 {
			return st, err
		}
		if dir, err = store.LockDir(s.dir); err != nil { // Open gave it back
			return nil, err
		}
		if misplaced != nil {
			err = s.settle(misplaced)
		} else {
			err = s.settled(func() error { return s.healQueues(damage) })
		}
		if err != nil {
			return nil, errors.Join(err, dir.Close())
		}
		open = store.Open
	}
}
