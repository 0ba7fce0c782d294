package queue

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"holdfast/store"
)

// Options are what Open takes. The zero value is production, but for the sinks.
type Options struct {
	Sinks           []SinkOptions
	MaxBytes        int64                 // disk budget of log and queues; 0: none
	MinFree         int64                 // bytes of the disk to leave free; 0: none
	CommitDelay     time.Duration         // how long a group commit waits for company; 0: not at all
	MarkDelay       time.Duration         // how long a settled bit may ride in memory; default 1s
	MarkEvery       int                   // as many settled bits are marked at once; default 65,536
	Handover        int64                 // bytes of fresh blocks kept in memory for the feeds; default 8 MiB
	MaxItemBytes    int64                 // of one body; default 1 MiB, lowered to what a segment takes
	MaxRequestBytes int64                 // of all bodies of a request; default 16 MiB, lowered likewise
	MaxRequestItems int                   // default 10,000
	Retain          Retain                // what is kept of delivered items, to be replayed
	DedupeWindow    time.Duration         // how long an idempotency key is known; default 24h
	DedupeKeys      int                   // how many are known at most; default 100,000
	OnAck           func(ids []uuid.UUID) // called at least once for each item that nobody is owed any more; nil: not at all. Run waits for it to return
	Registry        prometheus.Registerer // where metrics go; nil: nowhere
	Log             *slog.Logger          // nil: discarded

	look func() time.Time // at the wall clock, for queue time; nil: time.Now
}

// Retain bounds what is kept of segments that nobody is owed any more. The zero value keeps nothing; of two bounds the
// first that is reached counts.
type Retain struct {
	Age   time.Duration // 0: no bound by age
	Bytes int64         // 0: no bound by bytes
}

// SinkOptions are what the queue must know of a sink.
type SinkOptions struct {
	Name   string
	Was    []string               // names that it had: the queue of the first that there is becomes its own, unless it has one
	Match  func(store.Attrs) bool // which items it wants, decided when they are accepted; nil: all
	Order  Order
	Bounds Bounds
	Dead   Dead
	Window int // unsettled deliveries that may be out at once; default 1,024
}

// Order is how a sink's deliveries may overtake each other.
type Order int

// The orders. Strict: one at a time, and a retry holds what is behind it. None: a retry is passed by others. Key: only
// by items of other keys, or of none; two of the same key are never out at once.
const (
	Strict Order = iota
	None
	Key
)

// Bounds limit what waits for one sink. A nil bound is none; a zero is literal.
type Bounds struct {
	Items, Bytes *int64
	OnFull       OnFull
}

// OnFull is what a full sink does to a put.
type OnFull int

// Block waits for room. DropNewest accepts the item without this sink, and records that. DropOldest accepts it, and ends the
// oldest delivery that is not out; BuryOldest makes a dead letter of that one, and is Block while the dead letters are full
// and hold the sink. What is out is left alone, so that with the latter two as much may wait beyond the bound as is out.
const (
	Block OnFull = iota
	DropNewest
	DropOldest
	BuryOldest
)

// Dead bounds a sink's dead letters. The zero value is no bound.
type Dead struct {
	MaxBytes int64         // of their bodies; 0: none
	MaxAge   time.Duration // since they died, in queue time; 0: none
	OnFull   DeadOnFull
}

// DeadOnFull is what follows when MaxBytes is reached.
type DeadOnFull int

// HoldSink hands nothing out to the sink until there is room again. PurgeOldest purges the oldest.
const (
	HoldSink DeadOnFull = iota
	PurgeOldest
)

func (o Options) withDefaults(st *store.Store) (Options, error) {
	o.MarkDelay = cmp.Or(o.MarkDelay, time.Second)
	o.MarkEvery = cmp.Or(o.MarkEvery, 65536)
	o.Handover = cmp.Or(o.Handover, 8<<20)
	o.MaxRequestItems = cmp.Or(o.MaxRequestItems, 10_000)
	o.MaxRequestBytes = min(cmp.Or(o.MaxRequestBytes, 16<<20), st.MaxGroup())
	o.MaxItemBytes = min(cmp.Or(o.MaxItemBytes, 1<<20), o.MaxRequestBytes)
	o.DedupeWindow = cmp.Or(o.DedupeWindow, 24*time.Hour)
	o.DedupeKeys = cmp.Or(o.DedupeKeys, 100_000)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	if o.look == nil {
		o.look = time.Now
	}
	o.Sinks = slices.Clone(o.Sinks)
	seen := map[string]bool{}
	for i := range o.Sinks {
		s := &o.Sinks[i]
		if s.Name == "" || seen[s.Name] {
			return o, fmt.Errorf("sink %d: the name %q is empty or used twice", i, s.Name)
		}
		seen[s.Name] = true
		s.Window = cmp.Or(s.Window, 1024)
	}
	return o, nil
}

// maxRequests is how many requests wait for the committer; more wait for that.
const maxRequests = 4096

// Queues is one store at work: all its queues, and the way in. See the package comment for its life and its locks.
type Queues struct {
	st      *store.Store
	o       Options
	tag     uint32
	clock   clock
	metrics *metrics

	sinks      []*sink          // as configured, then orphans by name; fixed by Open
	owners     map[uint32]*sink // by queue number; fixed by Open
	plain      *store.Mask      // the mask of an item that every sink takes, if no sink has a match; else nil
	plainNames []string         // its sinks
	masks      *interner        // the others
	room       *room
	dedupe     *dedupe
	fresh      *fresh
	join       *join
	acks       *acks

	requests chan *Pending // to the committer
	company  company       // of those who send them
	pendings *sync.Pool    // that have been released
	waitings *sync.Pool    // for their answers: see newWaitings
	ops      chan op       // to the marker
	kick     chan struct{} // to the marker: commit now
	dirty    chan struct{} // to the marker: something was settled
	keep     chan struct{} // to the keeper: the log has grown
	rotate   chan struct{} // to the committer: end the active segment
	stopping chan struct{} // closed when no more is accepted
	stopped  chan struct{} // closed when Run has returned
	stop     sync.Once
	late     atomic.Bool               // the committer has ended: who hands over a request answers it
	appends  atomic.Pointer[time.Time] // since when the group commit under way is; nil: none is
	unmarked atomic.Int64              // settled since the last mark commit
	returns  atomic.Int64              // deliveries given back since the start
	kept     keeper                    // of the marker
	stuck    atomic.Bool               // queues.db cannot grow: nothing is handed out until it can
}

// A sink is one destination as the queue sees it.
type sink struct {
	SinkOptions
	queue  *queue
	paused atomic.Bool
	orphan bool // in the store, not in the configuration
}

// Open reads where every queue stands, and settles which sinks there are: a new one starts from now, one that is no
// longer configured stays as an orphan that holds its items. It takes st over for writing; the caller still closes it,
// after Run has returned.
func Open(st *store.Store, o Options) (*Queues, error) {
	asked := o
	o, err := o.withDefaults(st)
	if err != nil {
		return nil, err
	}
	if asked.MaxItemBytes > o.MaxItemBytes || asked.MaxRequestBytes > o.MaxRequestBytes {
		o.Log.Warn("limits are lowered to what a segment takes", "max_item_bytes", o.MaxItemBytes, "max_request_bytes", o.MaxRequestBytes)
	}
	stored, wall := st.Times()
	kick, clock := make(chan struct{}, 1), newClock(stored, wall, o.look)
	q := &Queues{
		st:       st,
		o:        o,
		tag:      tagOf(st.UUID()),
		clock:    clock,
		owners:   map[uint32]*sink{},
		masks:    newInterner(),
		room:     newRoom(st, o),
		dedupe:   newDedupe(o.DedupeWindow, o.DedupeKeys, clock.now),
		fresh:    newFresh(o.Handover, st.Next()),
		join:     newJoin(kick),
		acks:     newAcks(o.OnAck, st.Noted()),
		requests: make(chan *Pending, maxRequests),
		company:  newCompany(cpuTime),
		ops:      make(chan op),
		kick:     kick,
		dirty:    make(chan struct{}, 1),
		keep:     make(chan struct{}, 1),
		rotate:   make(chan struct{}, 1),
		pendings: &sync.Pool{New: func() any { return new(Pending) }},
		waitings: newWaitings(),
		stopping: make(chan struct{}),
		stopped:  make(chan struct{}),
		kept:     keeper{owed: map[uint64]debt{}},
	}
	if err := q.openSinks(); err != nil {
		return nil, fmt.Errorf("open sinks: %w", err)
	}
	if err := q.loadAcks(); err != nil {
		return nil, fmt.Errorf("load acks: %w", err)
	}
	q.dedupe.load(st.Keys(), st.IDTime(), o.look())
	q.dedupe.lossy, q.dedupe.isLost = st.HasLost, q.isLost
	q.forgetLost()
	q.metrics = newMetrics(q)
	if o.Registry != nil {
		if err := o.Registry.Register(q.metrics); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// openSinks brings the store's sinks in line with the configured ones, in one commit, and loads their queues.
func (q *Queues) openSinks() error {
	stored := map[string]store.Sink{}
	for _, s := range q.st.Sinks() {
		stored[s.Name] = s
	}
	var change store.Change
	var records []store.Sink
	for _, o := range q.o.Sinks {
		rec, known := q.inherit(o, stored, &change)
		rec, changed := adopt(rec, known, o.Name, q.st.NextQueue)
		if changed {
			change.Sinks = append(change.Sinks, rec)
		}
		if !known {
			change.Queues = append(change.Queues, store.QueueChange{Number: rec.Queues[0].Number, Cursor: q.st.Next()})
		}
		q.sinks = append(q.sinks, &sink{SinkOptions: o})
		records = append(records, rec)
	}
	for _, rec := range stored {
		if rec.State == store.Active { // a paused one stays paused, for the day it comes back
			rec.State = store.Orphan
			change.Sinks = append(change.Sinks, rec)
		}
		q.sinks = append(q.sinks, &sink{SinkOptions: SinkOptions{Name: rec.Name, Window: 1024}, orphan: true})
		records = append(records, rec)
	}
	if len(change.Sinks) > 0 {
		change.Noted = q.noted()
		change.QueueTime, change.WallTime = q.clock.stamp()
		if err := q.st.Commit(change); err != nil {
			return err
		}
	}
	return q.loadSinks(records)
}

// inherit takes the record of a sink out of stored: under its own name, else under one that it had. A former name that it
// does not need stays an orphan, and that is said.
func (q *Queues) inherit(o SinkOptions, stored map[string]store.Sink, change *store.Change) (rec store.Sink, known bool) {
	rec, known = stored[o.Name]
	delete(stored, o.Name)
	for _, name := range o.Was {
		old, there := stored[name]
		switch {
		case there && !known:
			rec, known = old, true
			rec.Name = o.Name
			delete(stored, name)
			change.Sinks = append(change.Sinks, store.Sink{Name: name, State: store.Removed}, rec)
		case there:
			q.o.Log.Warn("a sink has a queue already, and does not take over the one of its former name", "sink", o.Name, "was", name)
		}
	}
	return rec, known
}

// adopt is what a configured sink's record becomes: a new one gets a queue of its own, an orphan comes back to life.
func adopt(rec store.Sink, known bool, name string, next func() uint32) (_ store.Sink, changed bool) {
	if !known {
		return store.Sink{Name: name, State: store.Active, Queues: []store.SinkQueue{{Number: next(), Live: true}}}, true
	}
	if rec.State == store.Orphan {
		rec.State = store.Active
		return rec, true
	}
	return rec, false
}

func (q *Queues) loadSinks(records []store.Sink) error {
	slices.SortStableFunc(q.sinks[len(q.o.Sinks):], func(a, b *sink) int { return cmp.Compare(a.Name, b.Name) })
	byName := map[string]store.Sink{}
	for _, rec := range records {
		byName[rec.Name] = rec
	}
	plain := &store.Mask{}
	for _, s := range q.sinks {
		rec := byName[s.Name]
		s.paused.Store(rec.State == store.Paused)
		live := rec.Queues[len(rec.Queues)-1]
		var err error
		if s.queue, err = loadQueue(q, s, live.Number); err != nil {
			return fmt.Errorf("sink %s: %w", s.Name, err)
		}
		q.owners[live.Number] = s
		if !s.orphan {
			plain.To = append(plain.To, live.Number)
		}
	}
	slices.Sort(plain.To)
	if !slices.ContainsFunc(q.o.Sinks, func(o SinkOptions) bool { return o.Match != nil }) {
		q.plain, q.plainNames = plain, q.namesOf(plain.To)
	}
	return nil
}

// Run does the work until ctx ends or the store fails. When ctx ends it refuses new puts, answers the waiting ones,
// marks what was settled, and returns nil: lanes must have ended before. Any other return is a *store.FatalError, or what
// kept the marker from reading the log: the process is to exit, and the restart heals.
func (q *Queues) Run(ctx context.Context) error {
	defer close(q.stopped)
	ctx, fail := context.WithCancel(ctx)
	defer fail()
	last, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var committer, others sync.WaitGroup
	var committed, marked error
	committer.Go(func() { defer fail(); committed = q.commitLoop(ctx) })
	others.Go(func() { defer fail(); marked = q.markLoop(last) })
	others.Go(func() { q.ackLoop(last) })
	others.Go(func() { q.keepLoop(last) })
	committer.Wait()
	q.late.Store(true)
	q.turnAway()
	end()
	others.Wait()
	return cmp.Or(committed, marked)
}

// refuse makes every later put fail with ErrStopping.
func (q *Queues) refuse() { q.stop.Do(func() { close(q.stopping) }) }

// wakeFeeds has every lane look again.
func (q *Queues) wakeFeeds() {
	for _, s := range q.sinks {
		poke(s.queue.wake)
	}
}

// sinkNamed returns a sink, orphans included.
func (q *Queues) sinkNamed(name string) (*sink, error) {
	for _, s := range q.sinks {
		if s.Name == name {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", ErrNoSink, name)
}

// poke sends to a channel that holds one message: whoever reads it learns that there is news, not how often.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
