package store

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
)

// queues is queues.db: what is owed to each sink. Its memory is what a start, a segment's header and the release of
// segments ask for, and changes only after a commit is durable. Reading is done in short transactions.
type queues struct {
	path     string
	uuid     [16]byte
	thorough bool         // bodies are checked when it is opened, whatever stop came before
	handle   sync.RWMutex // held by readers for a transaction, by compaction for the moment in which db changes
	db       *bolt.DB     // guarded by handle; replaced under writing too
	file     *os.File     // bbolt's own handle, for its space only; guarded by writing

	given   atomic.Uint32 // highest queue number handed out
	written atomic.Int64  // bytes of pages that commits wrote
	taken   atomic.Int64  // allocated bytes of the file, as of the newest commit
	used    atomic.Int64  // bytes of its pages, likewise
	free    atomic.Int64  // of them those that hold nothing
	spoiled atomic.Bool   // something did not check: the next start looks at everything

	writing sync.Mutex // held by who commits
	ahead   int64      // disk is allocated up to here; guarded by writing
	pruned  uint64     // gone ranges below it are removed; guarded by writing
	stuck   bool       // a commit panicked and bbolt may never unlock; guarded by writing

	verdictMu sync.Mutex
	verdicts  map[uint64]verdict // by serial of the segment; guarded by verdictMu

	mu      sync.RWMutex // never held while a transaction waits
	meta    metaState    // guarded by mu; changed under writing too
	wall    wallPair     // likewise
	recount bool         // likewise: see Store.recount
	sinks   []Sink       // by name; guarded likewise
	queues  map[uint32]*queueMemory
	holes   []hole       // guarded likewise; replaced, never changed in place
	hurt    damageRecord // likewise
	fatal   error        // sticky; guarded by mu
}

// queueMemory is what is kept in memory of a queue: its durable cursor and marks, and per chunk of seqs the rows that
// have no body outside the log.
type queueMemory struct {
	cursor uint64
	marks  markSet
	rows   map[uint64]Tally
}

// lowestOwed is at or below the lowest seq that the queue may still want from the log.
func (m *queueMemory) lowestOwed() uint64 {
	low := m.cursor
	for chunk := range m.rows {
		low = min(low, chunk*chunkSeqs)
	}
	return low
}

// openQueues checks the file before bbolt may see it, opens it, and walks its buckets. It changes nothing.
func openQueues(dir string) (*queues, error) {
	path := filepath.Join(dir, queuesName)
	if err := checkFile(path); err != nil {
		return nil, err
	}
	q := &queues{path: path, queues: map[uint32]*queueMemory{}}
	options := boltOptions()
	options.OpenFile = func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
		q.file, err = os.OpenFile(name, flag&^os.O_CREATE, mode)
		return q.file, err
	}
	err := guard(path, func() (err error) {
		q.db, err = bolt.Open(path, 0o600, options)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := q.view(q.load); err != nil {
		return nil, errors.Join(err, guard(path, q.db.Close))
	}
	q.given.Store(q.meta.Given)
	if err := q.makeRoom(0); err != nil && !errors.Is(err, ErrFull) {
		return nil, errors.Join(err, q.db.Close())
	}
	q.measure()
	return q, nil
}

// checkFile refuses a file that bbolt could not walk. Which meta page is missing, or older than it should be, is for
// CheckMetas to say: the commit before the last one is whole too.
func checkFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return &DamageError{Path: path, Offset: -1, What: "it is missing"}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	report, metas, err := readMetas(f)
	if err != nil {
		return err
	}
	if report.PageSize == 0 {
		return &DamageError{Path: path, Offset: 0, What: "no meta page is valid"}
	}
	newest := metas[0]
	if !report.Valid[0] || report.Valid[1] && report.TxID[1] > report.TxID[0] {
		newest = metas[1]
	}
	err = checkPages(f, fi.Size(), newest)
	if page, ok := errors.AsType[*pageError](err); ok {
		off := int64(-1)
		if page.id < uint64(fi.Size())/uint64(report.PageSize) {
			off = int64(page.id) * int64(report.PageSize)
		}
		return &DamageError{Path: path, Offset: off, What: page.Error()}
	}
	return err
}

// guard runs fn, turning a panic, and a fault of the mapped file, into damage.
func guard(path string, fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = &DamageError{Path: path, Offset: -1, What: fmt.Sprint(r)}
		}
	}()
	return fn()
}

func (q *queues) view(fn func(tx *bolt.Tx) error) error {
	q.handle.RLock()
	defer q.handle.RUnlock()
	err := guard(q.path, func() error { return q.db.View(fn) })
	if isDamage(err) {
		q.spoiled.Store(true)
	}
	return err
}

// damage says where in queues.db something does not check.
func (q *queues) damage(bucket string, key []byte, err error) error {
	return &DamageError{Path: q.path, Offset: -1, What: fmt.Sprintf("bucket %s, key %q: %v", bucket, key, err)}
}

func (q *queues) damaged(bucket string, key []byte, what string) error {
	return q.damage(bucket, key, errors.New(what))
}

// close closes the file. After a commit that panicked bbolt cannot be asked: the end of the process closes it.
func (q *queues) close() error {
	q.writing.Lock()
	defer q.writing.Unlock()
	if q.stuck {
		return nil
	}
	return guard(q.path, q.db.Close)
}

// failure returns the sticky error.
func (q *queues) failure() error {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return q.fatal
}

// fail makes err sticky.
func (q *queues) fail(op string, err error) error {
	fatal := &FatalError{Op: op, Err: err}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fatal == nil {
		q.fatal = fatal
	}
	return fatal
}

// next returns a queue number that was not given before, also not by another process that made it durable.
func (q *queues) next() uint32 { return q.given.Add(1) }

// raise makes sure that numbers up to given are not handed out again.
func (q *queues) raise(given uint32) {
	for {
		old := q.given.Load()
		if old >= given || q.given.CompareAndSwap(old, given) {
			return
		}
	}
}

// logState is what the log is opened with.
func (q *queues) logState() logState {
	q.mu.RLock()
	defer q.mu.RUnlock()
	s := logState{Clean: q.meta.Clean, Highest: q.meta.Highest, Synced: q.meta.Synced, IDTime: q.meta.IDTime, Holes: q.holes, Damage: q.hurt}
	s.OldestNeeded = math.MaxUint64
	for number, m := range q.queues {
		s.OldestNeeded = min(s.OldestNeeded, m.cursor) // rows: see missingRows
		s.Queues = append(s.Queues, number)
	}
	slices.Sort(s.Queues)
	return s
}

// snapshot is what the header of a new segment repeats.
func (q *queues) snapshot() snapshot {
	q.mu.RLock()
	defer q.mu.RUnlock()
	s := snapshot{Sinks: cloneSinks(q.sinks), QueueNumber: q.meta.Given, Queues: map[uint32]queueSnap{}}
	for number, m := range q.queues {
		s.Queues[number] = queueSnap{Cursor: m.cursor, LowestOwed: m.lowestOwed()}
	}
	return s
}

// lowestCursor is the lowest durable cursor of all queues, MaxUint64 when there is none.
func (q *queues) lowestCursor() uint64 {
	q.mu.RLock()
	defer q.mu.RUnlock()
	low := uint64(math.MaxUint64)
	for _, m := range q.queues {
		low = min(low, m.cursor)
	}
	return low
}

// allSinks returns a copy of what is durable, by name.
func (q *queues) allSinks() []Sink {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return cloneSinks(q.sinks)
}

func (q *queues) times() (queue, wall int64) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return q.meta.QueueTime, q.wall.at(q.meta.QueueTime)
}

// size is the disk that the file takes. It asks the system, which is too dear for every put.
func (q *queues) size() int64 {
	fi, err := os.Stat(q.path)
	if err != nil {
		return 0
	}
	return allocated(fi)
}

func byName(a, b Sink) int { return strings.Compare(a.Name, b.Name) }

func sortSinks(sinks []Sink) { slices.SortFunc(sinks, byName) }
