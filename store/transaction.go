package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// A transaction is a change under way: what it reads is the file as the change has made it so far.
type transaction struct {
	q    *queues
	tx   *bolt.Tx
	meta metaState

	sinks, bodies, acks *entries
	queues              *bolt.Bucket
	open                map[uint32]*queueTx // those that were touched

	moved    bool   // the sinks have changed
	sinkList []Sink // by name, as the change leaves them
	suspects []Body // bodies that may be nobody's; only Queue and Item.Seq are set
	pruned   uint64
	wall     wallPair
	recount  bool
	holes    []hole
	damage   damageRecord
}

func (q *queues) begin() (*transaction, error) {
	tx, err := q.db.Begin(true)
	if err != nil {
		return nil, err
	}
	t := &transaction{q: q, tx: tx, meta: q.meta, sinkList: q.sinks, wall: q.wall, recount: q.recount, holes: q.holes, damage: q.hurt, open: map[uint32]*queueTx{}}
	t.queues = tx.Bucket(bucketQueues)
	t.sinks = &entries{q: q, name: "sinks", b: tx.Bucket(bucketSinks), n: t.meta.Sinks}
	t.bodies = &entries{q: q, name: "bodies", b: tx.Bucket(bucketBodies), n: t.meta.Bodies}
	t.acks = &entries{q: q, name: "acks", b: tx.Bucket(bucketAcks), n: t.meta.Acks}
	return t, nil
}

// see takes over what is known of the log.
func (t *transaction) see(v logView) {
	t.meta.Highest = max(t.meta.Highest, max(v.next, 1)-1)
	t.meta.Synced = max(t.meta.Synced, v.synced)
	t.meta.IDTime = max(t.meta.IDTime, v.idTime)
}

// apply makes the change in an order in which each part finds what it needs: queues before their rows, bodies before
// the rows that they cover, rows gone before the bodies that nobody points to.
func (t *transaction) apply(c *Change, oldest uint64) error {
	return firstError(
		func() error { return t.putSinks(c.Sinks) },
		func() error { return t.putBodies(c.Bodies) },
		func() error { return t.putQueues(c.Queues) },
		t.dropBodies,
		t.dropQueues,
		func() error { return t.putAcks(c.Acks, c.Acked) },
		func() error { return t.pruneGone(oldest) })
}

// finish writes the books: entries per bucket, and meta/state.
func (t *transaction) finish() error {
	for _, qt := range t.open {
		if err := qt.finish(); err != nil {
			return err
		}
	}
	t.meta.Sinks, t.meta.Bodies, t.meta.Acks = t.sinks.n, t.bodies.n, t.acks.n
	meta := &entries{q: t.q, name: "meta", b: t.tx.Bucket(bucketMeta)}
	if err := t.putHoles(meta); err != nil {
		return err
	}
	if err := t.putDamage(meta); err != nil {
		return err
	}
	if err := cmp.Or(t.putWall(meta), t.putRecount(meta)); err != nil {
		return err
	}
	return meta.put(keyState, t.meta.append(nil))
}

// queue returns the bucket of a queue that exists.
func (t *transaction) queue(number uint32) (*queueTx, error) {
	if qt := t.open[number]; qt != nil {
		return qt, nil
	}
	b := t.queues.Bucket(queueKey(number))
	if b == nil {
		return nil, &mistake{fmt.Sprintf("there is no queue %d", number)}
	}
	qt := &queueTx{
		e:    &entries{q: t.q, name: queueName(number), b: b, number: number},
		rows: map[uint64]Tally{}, cursor: t.q.queues[number].cursor,
	}
	payload, found, err := qt.e.get([]byte{kindCounts})
	if err == nil && !found {
		err = t.q.damaged(qt.e.name, nil, "its counts are missing")
	}
	if err != nil {
		return nil, err
	}
	qt.counts, qt.e.n, err = decodeCounts(payload)
	t.open[number] = qt
	return qt, err
}

// createQueue makes the bucket of a queue that no sink had before. It starts at the first seq unless the change says
// otherwise.
func (t *transaction) createQueue(number uint32) error {
	b, err := t.queues.CreateBucket(queueKey(number))
	if err != nil {
		return err
	}
	qt := &queueTx{e: &entries{q: t.q, name: queueName(number), b: b, number: number}, rows: map[uint64]Tally{}}
	t.open[number] = qt
	t.meta.Given = max(t.meta.Given, number)
	t.q.raise(number)
	return qt.setCursor(1)
}

// numbers lists the queues that there are now, ascending.
func (t *transaction) numbers() []uint32 {
	var numbers []uint32
	for _, sink := range t.sinkList {
		for _, sq := range sink.Queues {
			numbers = append(numbers, sq.Number)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// putSinks writes whole records by name.
func (t *transaction) putSinks(sinks []Sink) error {
	if len(sinks) == 0 {
		return nil
	}
	before := t.numbers()
	t.sinkList = cloneSinks(t.sinkList)
	for _, sink := range cloneSinks(sinks) {
		if err := t.putSink(sink); err != nil {
			return err
		}
	}
	sortSinks(t.sinkList)
	after := t.numbers()
	if i := slices.Index(after, 0); i >= 0 || len(slices.Compact(slices.Clone(after))) != len(after) {
		return &mistake{fmt.Sprintf("queue numbers %v: each is above 0 and belongs to one sink", after)}
	}
	for _, number := range after {
		if _, found := slices.BinarySearch(before, number); !found {
			if err := t.createQueue(number); err != nil {
				return err
			}
		}
	}
	for _, number := range before {
		if _, found := slices.BinarySearch(after, number); !found {
			qt, err := t.queue(number)
			if err != nil {
				return err
			}
			qt.deleted = true
		}
	}
	return nil
}

// sinkNameMost is the longest name of a sink, in bytes.
const sinkNameMost = 1024

func (t *transaction) putSink(sink Sink) error {
	if sink.Name == "" || len(sink.Name) > sinkNameMost || sink.State < Active || sink.State > Removed {
		return &mistake{fmt.Sprintf("sink %q in state %d", sink.Name, sink.State)}
	}
	t.sinkList = slices.DeleteFunc(t.sinkList, func(s Sink) bool { return s.Name == sink.Name })
	key := []byte(sink.Name)
	if sink.State == Removed && len(sink.Queues) == 0 {
		gone, err := t.sinks.delete(key)
		t.moved = t.moved || gone
		return err
	}
	t.sinkList = append(t.sinkList, sink)
	payload := appendSink(nil, &sink)
	old, found, err := t.sinks.get(key)
	if err != nil {
		return err
	}
	t.moved = t.moved || !found || !bytes.Equal(old, payload)
	return t.sinks.put(key, payload)
}

// dropQueues removes the buckets of queues that no sink has any more.
func (t *transaction) dropQueues() error {
	for number, qt := range t.open {
		if !qt.deleted {
			continue
		}
		if row, _ := qt.e.b.Cursor().Seek([]byte{kindRow}); row != nil && row[0] == kindRow {
			return &mistake{fmt.Sprintf("queue %d still holds rows and belongs to no sink", number)}
		}
		if err := t.queues.DeleteBucket(queueKey(number)); err != nil {
			return err
		}
	}
	return nil
}

func (t *transaction) putAcks(owed []Ack, done []uint64) error {
	for _, a := range owed {
		var time []byte
		if a.Time != 0 {
			time = binary.BigEndian.AppendUint64(nil, uint64(a.Time))
		}
		if err := t.acks.put(binary.BigEndian.AppendUint64(nil, a.Seq), time); err != nil {
			return err
		}
	}
	for _, seq := range done {
		if _, err := t.acks.delete(binary.BigEndian.AppendUint64(nil, seq)); err != nil {
			return err
		}
	}
	return nil
}

// pruneMost bounds what one transaction removes of old gone ranges.
const pruneMost = 1000

// pruneGone removes gone ranges whose items the log has no more: they are released, and 410 is all that is said.
func (t *transaction) pruneGone(oldest uint64) error {
	if oldest <= t.q.pruned {
		return nil
	}
	left := pruneMost
	for _, number := range t.numbers() {
		qt, err := t.queue(number)
		if err != nil {
			return err
		}
		n, err := qt.prune(oldest, left, t.damage.lost)
		if err != nil {
			return err
		}
		if left -= n; left == 0 {
			return nil // more may be left: the next one goes on
		}
	}
	t.pruned = oldest
	return nil
}

// entries is a bucket with checksummed values whose number of entries is kept.
type entries struct {
	q      *queues
	name   string
	b      *bolt.Bucket
	number uint32
	n      uint64
}

// get returns the payload of key. It lives as long as the transaction.
func (e *entries) get(key []byte) (payload []byte, found bool, err error) {
	value := e.b.Get(key)
	if value == nil {
		return nil, false, nil
	}
	payload, err = openValue(e.number, key, value)
	if err != nil {
		return nil, false, e.q.damage(e.name, key, err)
	}
	return payload, true, nil
}

func (e *entries) has(key []byte) bool { return e.b.Get(key) != nil }

// put writes a payload unless it is there already.
func (e *entries) put(key, payload []byte) error {
	return e.write(key, sealValue(e.number, key, payload))
}

// index writes an entry without a value.
func (e *entries) index(key []byte) error { return e.write(key, []byte{}) }

func (e *entries) write(key, value []byte) error {
	old := e.b.Get(key)
	if old != nil && bytes.Equal(old, value) {
		return nil
	}
	if old == nil {
		e.n++
	}
	return e.b.Put(key, value)
}

// delete reports whether there was something to delete.
func (e *entries) delete(key []byte) (bool, error) {
	if e.b.Get(key) == nil {
		return false, nil
	}
	e.n--
	return true, e.b.Delete(key)
}

// keys lists the keys of one kind, from a key of that kind on, at most n. Deleting under a cursor of bbolt skips keys,
// so they are listed first.
func (e *entries) keys(from []byte, n int) [][]byte {
	var keys [][]byte
	c := e.b.Cursor()
	for k, _ := c.Seek(from); k != nil && k[0] == from[0] && len(keys) < n; k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	return keys
}

func queueName(number uint32) string { return fmt.Sprintf("queues/%d", number) }
