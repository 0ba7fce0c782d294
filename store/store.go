package store

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// Options say how a store is laid out. The zero value is production.
type Options struct {
	SegmentBytes int64       // size of a segment; 0: 64 MiB; at least 64 KiB, less than 4 GiB
	BlockBytes   int         // most bytes of a block of several items, before they are compressed; 0: 256 KiB
	Compress     Compression // of new blocks

	// Quarantine keeps a damaged segment's file before anything is changed, durably; changes says that it may change in
	// place later on. It may be asked again for the same file. nil: a log that is damaged is refused with a *DamageError.
	Quarantine func(path string, changes bool) error
	// GiveUp counts what cannot be read of the log as damage: the caller has tried it for long enough.
	GiveUp bool
	// Healed, if set, is told of damage that was dealt with: of what is damaged at the start within Open, else by
	// whoever reads. Calls do not overlap.
	Healed func(Healing)

	ops *ops // nil: the disk's
}

// A Healing is damage of the log that was dealt with; it is not told again.
type Healing struct {
	Path    string // of the segment; empty: it is missing
	Cause   error  // what a reader met; nil: a start found it
	Missing string // which seqs no segment has, "1-500 701-900"; empty: a segment is there, or nobody knows
	Kept    int    // items of it that check, and stay where they are
	Lost    int    // items that do not, and were owed to someone

	Unknown bool // more may be lost than that: nothing tells how much the segment had
}

func (o Options) withDefaults() (Options, error) {
	o.SegmentBytes = cmp.Or(o.SegmentBytes, 64<<20)
	o.BlockBytes = cmp.Or(o.BlockBytes, 256<<10)
	if o.SegmentBytes < 64<<10 {
		return o, fmt.Errorf("segment of %d bytes: at least 65536", o.SegmentBytes)
	}
	if o.SegmentBytes >= 4<<30 { // offsets in its index have 32 bits
		return o, fmt.Errorf("segment of %d bytes: less than 4 GiB", o.SegmentBytes)
	}
	if o.BlockBytes < 1<<10 {
		return o, fmt.Errorf("block of %d bytes: at least 1024", o.BlockBytes)
	}
	if o.Compress > Zstd {
		return o, fmt.Errorf("no such compression: %d", o.Compress)
	}
	return o, nil
}

// A Store is an open data directory: the log and the queues. It has no goroutine, no clock and no policy, and does not
// log. Who may call what is in the package comment.
type Store struct {
	dir    *Dir
	uuid   [16]byte
	log    *segmentLog
	queues *queues
	closed atomic.Bool
	noted  uint64 // see Noted

	healMu sync.Mutex
	healed Healing // sums, since Open returned; guarded by healMu
}

// logState is what queues.db knows of the log when a store is opened.
type logState struct {
	Clean        bool         // the last process closed the store in order
	Highest      uint64       // highest seq given, as far as the queues know
	Synced       uint64       // every seq below it is known to have been durable
	IDTime       int64        // highest Item.Time, as far as the queues know
	OldestNeeded uint64       // the lowest cursor; below it only rows still need the log
	Holes        []hole       // released above it
	Damage       damageRecord // what was dealt with
	Queues       []uint32     // there are, ascending
}

// A snapshot is what the header of a new segment repeats of the queues.
type snapshot struct {
	Sinks       []Sink
	Queues      map[uint32]queueSnap
	QueueNumber uint32 // highest queue number given
}

type queueSnap struct{ Cursor, LowestOwed uint64 }

// Usage is the disk that a store takes: allocated sizes, as they count against a budget.
type Usage struct {
	LogBytes    int64 // segments, and files of idempotency keys
	QueuesBytes int64
	QueuesFree  int64 // of QueuesBytes: free pages, which commits use before the file grows; as of the newest commit
	SpareBytes  int64
	Segments    int
}

// Open opens the store in d and takes d over: Close releases it, and so does an Open that fails. What it finds is
// checked; a *FormatError or *DamageError says that nothing was changed. After a stop that was not clean, look at Tail
// and call RewriteTail before the first Append.
func Open(d *Dir, o Options) (*Store, error) {
	s, err := open(d, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), d.Close())
	}
	return s, nil
}

func open(d *Dir, o Options) (*Store, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	q, err := openQueues(d.Path())
	if err != nil {
		return nil, err
	}
	known := q.logState()
	l, err := openLog(filepath.Join(d.Path(), logDir), q.uuid, o, known)
	if err != nil {
		return nil, errors.Join(err, q.close())
	}
	s := &Store{dir: d, uuid: q.uuid, log: l, queues: q, noted: known.Synced}
	if err := s.heal(); err != nil {
		return nil, errors.Join(err, l.close(), q.close())
	}
	q.raise(l.queueNumber())
	return s, nil
}

// heal deals with what openLog found to be damaged, and prepares for what readers will find.
func (s *Store) heal() error {
	if err := s.missingRows(); err != nil {
		return err
	}
	if s.log.heals() {
		if err := s.treatWounds(s.log.wounds); err != nil {
			return err
		}
		s.log.wounds, s.log.treat = nil, s.treatWounds
	}
	if s.log.baseless || s.queues.mustRecount() {
		if err := s.recount(); err != nil {
			return err
		}
	}
	s.healed = Healing{}
	s.log.opts.GiveUp = false // that is of the start: what fails to be read later has its time again
	return nil
}

// missingRows looks for rows whose item is in no segment and in no body: a segment below all cursors may be gone, but
// not while a row needs it.
func (s *Store) missingRows() error {
	l := s.log
	var end uint64
	check := func(to uint64) error {
		n := s.owedRows(end, to).Items
		if n == 0 {
			return nil
		}
		if l.heals() {
			return s.loseRows(end, to)
		}
		return &DamageError{Path: l.dir, Offset: -1, What: fmt.Sprintf("%d rows need seqs %d to %d, which are missing", n, end, to-1)}
	}
	for _, v := range l.views() {
		if err := check(v.seg.first); err != nil {
			return err
		}
		end = v.end
	}
	end = max(end, l.torn.end) // the last group commit, which RewriteTail appends again, is in no segment yet
	return check(math.MaxUint64)
}

// loseRows notes the seqs in first ≤ seq < end that rows need.
func (s *Store) loseRows(first, end uint64) error {
	var lost []lostRange
	for _, d := range s.queues.debts() {
		refs, err := s.queues.rowRefs(d.number, first, end)
		if err != nil {
			return err
		}
		for _, r := range refs {
			if !r.body {
				lost = append(lost, lostRange{r.seq, r.seq + 1, r.bytes, []uint32{d.number}})
			}
		}
	}
	s.log.noteLost(joinLost(lost))
	return nil
}

// Close leaves word that the store was closed in order, durably, closes its files and gives the directory back. It
// waits for nobody: no other call may be running. After a fatal error it closes without touching the disk. Further
// calls do nothing.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	fatal := cmpError(s.log.failure(), s.queues.failure())
	v := s.logView()
	err := s.log.close()
	if fatal == nil && s.queues.spoiled.Load() {
		err = errors.Join(err, s.queues.clearClean()) // so that the next start finds what did not check, and heals it
	} else if fatal == nil && err == nil && !s.log.rewrite { // a tail that was not appended again is still one of an unclean stop
		// On a full disk the next start takes this stop for an unclean one, and looks at the tail of the log.
		if cerr := s.queues.setClean(v); !errors.Is(cerr, ErrFull) {
			err = cerr
		}
	}
	if err = errors.Join(err, s.queues.close(), s.dir.Close()); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// Healed sums up the damage of the log that readers met, and that was dealt with, since Open returned; Path is empty.
func (s *Store) Healed() Healing {
	s.healMu.Lock()
	defer s.healMu.Unlock()
	return s.healed
}

// Path returns the data directory, as it was locked.
func (s *Store) Path() string { return s.dir.Path() }

// Noted returns the seq below which everything was known to be durable by the newest commit, when the store was opened.
func (s *Store) Noted() uint64 { return s.noted }

// UUID returns the store's own, as it was created with.
func (s *Store) UUID() [16]byte { return s.uuid }

// Usage returns the disk that the store takes.
func (s *Store) Usage() Usage {
	u := Usage{QueuesBytes: s.queues.taken.Load(), QueuesFree: s.queues.free.Load()}
	u.LogBytes, u.SpareBytes, u.Segments = s.log.usage()
	return u
}

// Newest returns the serial of the segment that was begun last, 0 if there is none.
func (s *Store) Newest() uint64 { return s.log.newestSegment() }

// Written returns the bytes that went to the disk since Open, in whole pages: those of the log's writes, and those
// that bbolt's commits wrote (it writes each page that it allocates in a transaction once, and one meta page).
func (s *Store) Written() int64 { return s.log.written() + s.queues.written.Load() }

// Sinks returns what is durable, by name. The slice is the caller's.
func (s *Store) Sinks() []Sink { return s.queues.allSinks() }

// NextQueue returns a queue number that was not given before; the first is 1. It is durable with the Change whose
// Sinks use it: one that was never used may be given again by a later process.
func (s *Store) NextQueue() uint32 { return s.queues.next() }

// Times returns the queue time of the newest commit, in ms, and what the wall clock said at that moment, in ms since 1970;
// 0: nobody looked.
func (s *Store) Times() (queue, wall int64) { return s.queues.times() }

// LoadQueue returns what a start needs of a queue. ErrNotFound: no sink has it.
func (s *Store) LoadQueue(number uint32) (QueueState, error) { return s.queues.loadQueue(number) }

// Row returns the row of a delivery, and whether there is one.
func (s *Store) Row(queue uint32, seq uint64) (Row, bool, error) { return s.queues.row(queue, seq) }

// Rows returns up to limit rows from a seq on, ascending, in the given states; without any, in all.
func (s *Store) Rows(queue uint32, from uint64, limit int, states ...RowState) ([]Row, error) {
	return s.queues.rows(queue, from, limit, states)
}

// ReadyRows returns up to limit rows in state ready from a seq on, ascending, without looking at the others.
func (s *Store) ReadyRows(queue uint32, from uint64, limit int) ([]Row, error) {
	return s.queues.readyRows(queue, from, limit)
}

// Gone returns why a queue settled a seq without delivery, and whether it did. It is forgotten with the segment.
func (s *Store) Gone(queue uint32, seq uint64) (Reason, bool, error) {
	return s.queues.gone(queue, seq)
}

// Acks returns up to limit acks that are owed to the hook, from a seq on, ascending; limit is at most 4096.
func (s *Store) Acks(from uint64, limit int) ([]Ack, error) { return s.queues.acks(from, limit) }
