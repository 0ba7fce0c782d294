package script

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"

	"holdfast/queue"
	"holdfast/recovery"
	"holdfast/store"
)

// rounds are those of Play. After reopenAt of them the store is closed and opened again.
const rounds, reopenAt, drainEvery = 40, 26, 6

// Play makes a store in a directory that holds none, and does with it everything that changes the disk: requests alone and
// in groups, deliveries done, retried and buried, dead letters requeued and purged, segments filled, sealed, emptied and
// released, queues.db compacted, a stop in order and another start. It returns with the store open, as a kill would
// find it. What it does follows from seed.
func Play(dir string, marks io.Writer, seed uint64) error {
	p := &player{dir: dir, marks: marks, rng: rand.New(rand.NewPCG(seed, 0x5c219)), tag: 1, state: State{}, ids: map[int]uuid.UUID{}}
	for _, s := range Sinks() {
		p.state[s] = map[int]string{}
	}
	if err := p.open(); err != nil {
		return err
	}
	if err := (Mark{Ready: &Ready{}}).write(marks); err != nil {
		return err
	}
	for n := range rounds {
		if n == reopenAt {
			if err := p.reopen(); err != nil {
				return fmt.Errorf("open again: %w", err)
			}
		}
		if err := p.round(n); err != nil {
			return fmt.Errorf("round %d: %w", n, err)
		}
	}
	return nil
}

type player struct {
	dir    string
	marks  io.Writer
	rng    *rand.Rand
	st     *store.Store
	q      *queue.Queues
	cancel context.CancelFunc
	ended  chan error

	tag, request, version int
	state                 State
	ids                   map[int]uuid.UUID
	changes               []Change // settled since the newest version
}

func (p *player) open() (err error) {
	if p.st, _, err = recovery.Open(p.dir, Options()); err != nil {
		return err
	}
	if p.q, err = queue.Open(p.st, QueueOptions()); err != nil {
		return err
	}
	p.cancel, p.ended = run(p.q)
	return nil
}

// run starts a queue; ended gets what its Run returned.
func run(q *queue.Queues) (context.CancelFunc, chan error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	return cancel, ended
}

func (p *player) reopen() error {
	p.cancel()
	if err := <-p.ended; err != nil {
		return err
	}
	if err := p.st.Close(); err != nil {
		return err
	}
	return p.open()
}

func (p *player) round(n int) error {
	steps := []func() error{p.put, p.put, p.settleSome, p.commit}
	if n%4 == 1 {
		steps = append(steps, func() error { return p.decide(true) })
	}
	if n%5 == 2 {
		steps = append(steps, func() error { return p.decide(false) })
	}
	if n%7 == 3 {
		steps = append(steps, p.st.Rotate, p.put)
	}
	if n%6 == 4 {
		steps = append(steps, p.st.Compact)
	}
	if n%drainEvery == drainEvery-1 {
		steps = append(steps, p.sealed, p.drain, p.commit, p.put, p.commit, p.commit, p.commit, p.commit)
	}
	steps = append(steps, p.sealed)
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

// put hands over between one and three requests at once, which go in one group commit or in more.
func (p *player) put() error {
	var waiting []*queue.Pending
	var puts []Put
	for range 1 + p.rng.IntN(3) {
		p.request++
		puts = append(puts, Put{Request: p.request, Tags: p.tags()})
	}
	for i := range puts {
		if err := (Mark{Put: &puts[i]}).write(p.marks); err != nil {
			return err
		}
	}
	for i := range puts {
		r := queue.Request{}
		for _, tag := range puts[i].Tags {
			r.Items = append(r.Items, Item(tag))
		}
		pending, err := p.q.Submit(context.Background(), r)
		if err != nil {
			return err
		}
		waiting = append(waiting, pending)
	}
	for i, pending := range waiting {
		a, err := pending.Wait(context.Background())
		if err != nil {
			return err
		}
		if err := p.acked(&puts[i], a.Receipts); err != nil {
			return err
		}
	}
	return nil
}

// tags are the items of a request, at most half of what a group may have.
func (p *player) tags() (tags []int) {
	bytes := 0
	for range 1 + p.rng.IntN(5) {
		if bytes += len(Body(p.tag)); bytes > 14<<10 {
			break
		}
		tags = append(tags, p.tag)
		p.tag++
	}
	return tags
}

func (p *player) acked(put *Put, receipts []queue.Receipt) error {
	a := Acked{Request: put.Request}
	for i, r := range receipts {
		a.IDs = append(a.IDs, r.ID.String())
		p.ids[put.Tags[i]] = r.ID
		for _, s := range Wants(put.Tags[i]) {
			p.state[s][put.Tags[i]] = Waiting
		}
	}
	return Mark{Acked: &a}.write(p.marks)
}

// settleSome takes some deliveries of each sink, and settles them one way or another.
func (p *player) settleSome() error { return p.settle(func() int { return p.rng.IntN(9) }, 12) }

// drain requeues most dead letters, and settles everything that is handed out, nearly all of it well: then segments are
// nearly finished, and emptied.
func (p *player) drain() error {
	for range 2 * len(Sinks()) {
		if err := p.decide(true); err != nil {
			return err
		}
	}
	return p.settle(func() int { return 4096 }, 100)
}

func (p *player) settle(most func() int, oneIn int) error {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	for _, sink := range Sinks() {
		f, err := p.q.Feed(sink)
		if err != nil {
			return err
		}
		ds, _ := f.Next(now, nil, most())
		for _, d := range ds {
			p.settleOne(f, sink, d, p.rng.IntN(oneIn))
		}
	}
	return nil
}

// settleOne settles one delivery by a number that was drawn: a low one is not well. Until the next version only memory
// knows.
func (p *player) settleOne(f *queue.Feed, sink string, d queue.Delivery, drawn int) {
	tag := tagOf(d.Item.Attrs)
	o, to := queue.Outcome{Kind: queue.Done}, Gone
	switch drawn {
	case 0, 1:
		o, to = queue.Outcome{Kind: queue.Bury, Err: "delivery failed: no"}, Dead(d.Attempts+1)
	case 2:
		o, to = queue.Outcome{Kind: queue.Retry, Err: "not yet"}, Retry(d.Attempts+1)
		if sink != "strict" && p.rng.IntN(4) == 0 {
			o.After = 1000 * time.Hour
		}
	case 3:
		f.Return(d)
		return
	}
	f.Settle(d, o)
	p.changes = append(p.changes, Change{sink, tag, to})
}

// commit makes a version of what was settled, and waits until it is durable.
func (p *player) commit() error {
	return p.newVersion(p.changes, func() error {
		_, err := p.q.Purge(context.Background(), queue.DeadFilter{All: true, DryRun: true})
		return err
	})
}

func (p *player) newVersion(changes []Change, do func() error) error {
	p.version++
	if err := (Mark{Begin: &Version{p.version, changes}}).write(p.marks); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	for _, c := range changes {
		if p.state[c.Sink][c.Tag] = c.To; c.To == Gone {
			delete(p.state[c.Sink], c.Tag)
		}
	}
	p.changes = nil
	return Mark{Durable: p.version}.write(p.marks)
}

// decide requeues or purges about half of the dead letters of a sink.
func (p *player) decide(requeue bool) error {
	sink := Sinks()[p.rng.IntN(3)]
	var ids []uuid.UUID
	var changes []Change
	for _, tag := range slices.Sorted(maps.Keys(p.state[sink])) {
		if p.state[sink][tag][0] != 'd' || p.rng.IntN(2) == 0 {
			continue
		}
		ids = append(ids, p.ids[tag])
		if requeue {
			changes = append(changes, Change{sink, tag, Waiting})
		} else {
			changes = append(changes, Change{sink, tag, Gone})
		}
	}
	if len(ids) == 0 {
		return nil
	}
	do := p.q.Purge
	if requeue {
		do = func(ctx context.Context, f queue.DeadFilter) (int, error) {
			n, _, err := p.q.Requeue(ctx, f)
			return n, err
		}
	}
	return p.newVersion(changes, func() error {
		n, err := do(context.Background(), queue.DeadFilter{Sink: sink, IDs: ids})
		if err == nil && n != len(ids) {
			err = fmt.Errorf("sink %s: %d of %d dead letters were found", sink, n, len(ids))
		}
		return err
	})
}

// sealed waits until the keeper has sealed what can be sealed.
func (p *player) sealed() error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 2000 {
		segments := p.st.Segments()
		if !slices.ContainsFunc(segments[:max(len(segments)-1, 0)], func(g store.Segment) bool { return !g.Sealed }) {
			return nil
		}
		select {
		case err := <-p.ended:
			return err
		case <-tick.C:
		}
	}
	return fmt.Errorf("%s: the segments are not sealed", p.dir)
}
