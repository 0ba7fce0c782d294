package store

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// A Rebuild is a new queues.db, made of what is left of a damaged or missing one, before it is written. Nothing is lost
// by it but bodies that do not check and that the log has no more: where it is not certain that a delivery is settled, it
// is repeated. What it is made of is said at carve.go.
type Rebuild struct {
	dir    string
	found  *carved
	tree   *carveTree
	log    *logReading
	uuid   [16]byte
	state  metaState
	holes  []hole
	sinks  []Sink
	queues map[uint32]*newQueue
	bodies map[bodyPlace]bodyRef
	acks   []Ack
	sums   Rebuilt

	lost     []lostRange // of segments that are missing
	released []hole      // where segments may have been released
	counted  []lostRange // seqs that are told by number; ascending

	named map[uint32]bool // the queues that items of the log went to
	given uint32          // the highest number that a mask of the log has
}

// Rebuilt says by number what a rebuilt queues.db is made of, and what is lost.
type Rebuilt struct {
	Rows      int      // rows as they were
	Repeated  int      // deliveries that may be settled, and are owed again: their rows may have been lost, or their stream is rewound
	Rewound   []string // sinks whose stream begins again where the newest segment's header says that nothing before is owed
	Bodies    int      // items outside the log
	Missing   int      // items outside the log that do not check; the log may have them still
	Lost      int      // items of which the row is there and the body, which the log has no more, is not
	Uncounted bool     // nobody knows how many items were outside the log
	Gone      int      // items of segments that are missing, which were owed
	Uncertain int      // items that no segment has, and of which nothing tells whether they were owed
	Older     bool     // it is of a commit that may not be the newest: no pair of meta pages says that it is
	PageSize  int64
	BadPages  []int64 // offsets of what does not check of the old file
}

// PlanRebuild looks at what is left of the queues.db in dir, and at the log, and changes nothing. The uuid is for a store
// of which nothing tells its own. What the disk does not give of them is an error, which may pass; with giveUp, after it
// was tried for long enough, it is damage. Errors: *FormatError; *DamageError where a segment is of another store, or not
// where it belongs: a start refuses it too; and those of the file system. Close it.
func PlanRebuild(dir string, uuid [16]byte, giveUp bool) (*Rebuild, error) {
	r, err := planRebuild(dir, uuid, giveUp, diskOps())
	if err != nil {
		return nil, fmt.Errorf("rebuild queues: %w", err)
	}
	return r, nil
}

func planRebuild(dir string, uuid [16]byte, giveUp bool, disk ops) (_ *Rebuild, err error) {
	r := &Rebuild{dir: dir, uuid: uuid, queues: map[uint32]*newQueue{}, bodies: map[bodyPlace]bodyRef{}}
	path, logPath := filepath.Join(dir, queuesName), filepath.Join(dir, logDir)
	if r.log, err = readLog(logPath, [16]byte{}, giveUp, disk); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.found, r.tree, err = carveWith(path, headerNumbers(r.log.header()), disk); err != nil {
		return nil, err
	}
	if r.found.refused != nil && !giveUp {
		return nil, r.found.refused
	}
	if err = r.found.checkFormats(path); err != nil {
		return nil, err
	}
	if r.found.uuid.rank > 0 && r.found.uuid.v != r.log.log.uuid {
		ours, err := readLog(logPath, r.found.uuid.v, giveUp, disk)
		if err != nil {
			return nil, err
		}
		guess := r.log
		r.log = ours
		if err := guess.close(); err != nil {
			return nil, err
		}
	}
	if foreign := r.log.foreign; foreign != nil { // whose store this is must not be guessed
		return nil, &MisplacedError{Damage: foreign, UUID: r.log.log.uuid, Guessed: r.found.uuid.rank == 0}
	}
	return r, r.plan()
}

func headerNumbers(h *segmentHeader) (numbers []uint32) {
	if h != nil {
		numbers = slices.Sorted(maps.Keys(h.Queues))
	}
	return numbers
}

// Close gives the files of the log back.
func (r *Rebuild) Close() error { return r.log.close() }

// Rebuilt returns what the new file has.
func (r *Rebuild) Rebuilt() Rebuilt { return r.sums }

func (r *Rebuild) plan() error {
	if id := r.log.log.uuid; id != ([16]byte{}) {
		r.uuid = id
	}
	if r.found.uuid.rank > 0 {
		r.uuid = r.found.uuid.v
	}
	var err error
	if r.named, r.given, err = r.log.named(); err != nil {
		return err
	}
	r.sinks = r.planSinks()
	for _, sink := range r.sinks {
		for _, sq := range sink.Queues {
			r.queues[sq.Number] = r.planQueue(sq)
		}
	}
	if err := r.adoptBodies(); err != nil {
		return err
	}
	r.planGaps()
	if err := r.fill(); err != nil {
		return err
	}
	r.planBodies()
	r.planAcks()
	r.planMeta()
	r.count()
	return nil
}

// planSinks takes the current records. Where some are missing the newest header has them, as a change of sinks starts a
// segment; and a sink that no item was accepted for since may be in a stale record, with queues of its own. What was
// given a number since, and is named by masks alone, has lost its name.
func (r *Rebuild) planSinks() (sinks []Sink) {
	names, numbers := map[string]bool{}, map[uint32]bool{}
	add := func(s Sink) {
		used := names[s.Name] || len(s.Queues) == 0 || slices.ContainsFunc(s.Queues, func(q SinkQueue) bool { return q.Number == 0 || numbers[q.Number] })
		if used {
			return
		}
		names[s.Name] = true
		for _, q := range s.Queues {
			numbers[q.Number] = true
		}
		sinks = append(sinks, s)
	}
	current := uint64(0)
	for _, name := range slices.Sorted(maps.Keys(r.found.sinks)) {
		if s := r.found.sinks[name]; s.current() {
			add(s.v)
			current++
		}
	}
	books, given := r.found.books, uint32(0)
	whole := books.current() && books.v.Sinks == current && !r.tree.lostIn(bucketSinks)
	if whole {
		given = books.v.Given // what of these has no record was removed
	}
	later := func(s Sink) bool {
		return !slices.ContainsFunc(s.Queues, func(q SinkQueue) bool { return q.Number <= given })
	}
	if h := r.log.header(); h != nil {
		for _, s := range h.Sinks {
			if later(s) {
				add(s)
			}
		}
		given = max(given, h.QueueNumber)
	}
	if !whole {
		for _, name := range slices.Sorted(maps.Keys(r.found.sinks)) {
			if s := r.found.sinks[name].v; later(s) {
				add(s)
			}
		}
	}
	r.addOrphans(add, names, numbers, func(n uint32) bool {
		q := r.found.queues[n]
		return r.named[n] && n > given || !whole && q != nil && (q.cursor.current() || r.log.header() == nil)
	})
	sortSinks(sinks)
	return sinks
}

// addOrphans makes sinks for queues that have rows, or that masks name, and that nobody says the name of.
func (r *Rebuild) addOrphans(add func(Sink), names map[string]bool, numbers map[uint32]bool, owed func(uint32) bool) {
	all := slices.AppendSeq(slices.Collect(maps.Keys(r.found.queues)), maps.Keys(r.named))
	slices.Sort(all)
	for _, n := range slices.Compact(all) {
		if numbers[n] || !owed(n) {
			continue
		}
		name := fmt.Sprintf("recovered-%d", n)
		for names[name] {
			name += "-again"
		}
		add(Sink{Name: name, State: Orphan, Queues: []SinkQueue{{Number: n, Live: true}}})
	}
}

// adoptBodies makes rows for bodies whose rows may have been lost.
func (r *Rebuild) adoptBodies() error {
	f, err := os.Open(filepath.Join(r.dir, queuesName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for _, id := range slices.SortedFunc(maps.Keys(r.found.bodies), comparePlaces) {
		var wanting []*newQueue
		for _, q := range r.queues {
			if (id.queue == 0 || id.queue == q.number) && q.mayMiss(id.seq, r.log.has(id.seq)) {
				wanting = append(wanting, q)
			}
		}
		if len(wanting) == 0 {
			continue
		}
		it, err := readBody(f, id, r.found.bodies[id].v)
		if errors.Is(err, syscall.EIO) && !r.log.givesUp(err) {
			return err
		}
		if err != nil {
			continue // it checked a moment ago: the disk does not give it any more
		}
		for _, q := range wanting {
			if id.queue != 0 || q.wants(&it) {
				q.again(&it)
			}
		}
	}
	return nil
}

func comparePlaces(a, b bodyPlace) int {
	return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.queue, b.queue))
}

// readBody reads and checks a body in the damaged file.
func readBody(f io.ReaderAt, id bodyPlace, ref bodyRef) (Item, error) {
	payload, err := readBodyValue(f, id, ref)
	if err != nil {
		return Item{}, err
	}
	return decodeBody(id.seq, payload)
}

func readBodyValue(f io.ReaderAt, id bodyPlace, ref bodyRef) ([]byte, error) {
	value := make([]byte, ref.size)
	if _, err := f.ReadAt(value, ref.at); err != nil {
		return nil, err
	}
	return openValue(0, bodyKey(id.queue, id.seq), value)
}

// planBodies decides which bodies go over, and gives up the rows whose item is nowhere.
func (r *Rebuild) planBodies() {
	for _, q := range r.queues {
		for seq, row := range q.rows {
			found := false
			for _, id := range []bodyPlace{{seq, 0}, {seq, q.number}} {
				if b := r.found.bodies[id]; b.current() {
					r.bodies[id], found = b.v, true
				}
			}
			if found || r.log.has(seq) || r.known(seq) {
				continue
			}
			for _, id := range []bodyPlace{{seq, 0}, {seq, q.number}} {
				if b := r.found.bodies[id]; b.rank > 0 && !found {
					r.bodies[id], found = b.v, true
				}
			}
			if !found {
				q.giveUp(row)
				r.sums.Lost++
			}
		}
	}
}

// known reports whether the item of a seq was told to be lost before: a row of it that is there is history.
func (r *Rebuild) known(seq uint64) bool {
	lost := lostAt(r.found.damage.v.lost, seq)
	return lost != nil && lost.first <= seq
}

// planAcks takes the current ones; where some are missing, stale ones too: a hook that is called again is no harm.
func (r *Rebuild) planAcks() {
	current := uint64(0)
	for _, a := range r.found.acks {
		if a.current() {
			current++
		}
	}
	whole := r.found.books.current() && r.found.books.v.Acks == current
	for seq, a := range r.found.acks {
		if a.current() || !whole {
			r.acks = append(r.acks, Ack{seq, a.v})
		}
	}
	slices.SortFunc(r.acks, func(a, b Ack) int { return cmp.Compare(a.Seq, b.Seq) })
}

// planMeta takes the farthest of everything that is known of the log. The store counts as one that was not closed in
// order: so the tail of the log is looked at.
func (r *Rebuild) planMeta() {
	r.state = r.found.state
	r.state.Clean = false
	if h := r.log.header(); h != nil {
		r.state.Highest, r.state.IDTime = max(r.state.Highest, h.Highest), max(r.state.IDTime, h.IDTime)
		r.state.Given = max(r.state.Given, h.QueueNumber)
	}
	r.state.Given = max(r.state.Given, r.given)
	for n, q := range r.queues {
		r.state.Given = max(r.state.Given, n)
		r.state.Highest = max(r.state.Highest, q.highest)
	}
	r.holes = mergeHoles(slices.Concat(r.found.holes, r.released))
}

// count fills in the numbers of the report.
func (r *Rebuild) count() {
	r.sums.PageSize = r.tree.pageSize
	for _, id := range r.found.bad {
		r.sums.BadPages = append(r.sums.BadPages, int64(id)*r.tree.pageSize)
	}
	for _, sink := range r.sinks {
		for _, sq := range sink.Queues {
			q := r.queues[sq.Number]
			r.sums.Rows += len(q.rows) - q.repeated
			r.sums.Repeated += q.repeated + q.reseen
			if q.rewound && !slices.Contains(r.sums.Rewound, sink.Name) {
				r.sums.Rewound = append(r.sums.Rewound, sink.Name)
			}
		}
	}
	r.sums.Bodies, r.sums.Older = len(r.bodies), r.tree.rooted && !r.tree.newest
	found := 0
	for _, b := range r.found.bodies {
		if b.current() {
			found++
		}
	}
	if r.sums.Uncounted = !r.found.books.current(); !r.sums.Uncounted {
		r.sums.Missing = max(0, int(r.found.books.v.Bodies)-found)
	}
}
