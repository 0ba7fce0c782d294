package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// first takes what tells whose the other entries are: sinks, and rows, which have the number of their queue in them.
func (c *carver) first(e entry) {
	if e.number > 0 {
		c.number(uint32(e.number))
	}
	if payload, err := openValue(0, e.key, e.value); err == nil {
		c.outer(e, payload)
		return
	}
	if len(e.key) == 9 && e.key[0] == kindRow && len(e.value) > 4 {
		number := binary.BigEndian.Uint32(e.value)
		if _, err := openValue(number, e.key, e.value); err == nil {
			c.number(number)
		}
	}
}

func (c *carver) number(n uint32) {
	if !slices.Contains(c.numbers, n) {
		c.numbers = append(c.numbers, n)
	}
}

// outer takes an entry of a bucket that is no queue's. Seqs have 48 bits, so no name of a sink looks like the key of a body;
// and a body has a time and a mask, so it is longer than an ack.
func (c *carver) outer(e entry, payload []byte) {
	o, key := c.out, string(e.key)
	isSeq := len(key) >= 8 && key[0] == 0 && key[1] == 0
	switch {
	case key == string(keyFormat) && len(payload) == 4:
		o.formats[binary.BigEndian.Uint32(payload)] = true
	case key == string(keyStore) && len(payload) == 16:
		if o.uuid.better(e.rank) {
			o.uuid = ranked[[16]byte]{e.rank, [16]byte(payload)}
		}
	case key == string(keyState) && o.takeState(e.rank, payload):
	case key == string(keyHoles) && o.takeHoles(e.rank, payload):
	case key == string(keyDamage) && o.takeDamage(e.rank, payload):
	case key == string(keyWall) && o.takeWall(payload), key == string(keyRecount) && len(payload) == 0:
	case isSeq && len(key) == 8 && o.takeAck(e, payload):
	case isSeq && (len(key) == 8 || len(key) == 12):
		o.takeBody(e, payload)
	default:
		o.takeSink(e, payload)
	}
}

func (o *carved) takeState(rk rank, payload []byte) bool {
	m, err := decodeMetaState(payload)
	if err != nil {
		return false
	}
	if o.books.better(rk) {
		o.books = ranked[metaState]{rk, m}
	}
	s := &o.state
	s.Highest, s.Synced, s.Given = max(s.Highest, m.Highest), max(s.Synced, m.Synced), max(s.Given, m.Given)
	s.IDTime, s.QueueTime = max(s.IDTime, m.IDTime), max(s.QueueTime, m.QueueTime)
	return true
}

func (o *carved) takeHoles(rk rank, payload []byte) bool {
	holes, err := decodeHoles(payload)
	if err != nil {
		return false
	}
	o.holes, o.holed = append(o.holes, holes...), max(o.holed, rk)
	return true
}

func (o *carved) takeDamage(rk rank, payload []byte) bool {
	d, err := decodeDamage(payload)
	if err == nil && o.damage.better(rk) {
		o.damage = ranked[damageRecord]{rk, d}
	}
	return err == nil
}

// takeWall takes the pair of the latest queue time.
func (o *carved) takeWall(payload []byte) bool {
	p, err := decodeWall(payload)
	if err == nil && p.queue > o.wall.queue {
		o.wall = p
	}
	return err == nil
}

// takeAck takes an ack; of two versions that are as good, that which knows the time.
func (o *carved) takeAck(e entry, payload []byte) bool {
	time, err := decodeAck(payload)
	seq := binary.BigEndian.Uint64(e.key)
	if old := o.acks[seq]; err == nil && (old.better(e.rank) || old.rank == e.rank && time != 0) {
		o.acks[seq] = ranked[int64]{e.rank, time}
	}
	return err == nil
}

// takeBody takes the place of a body whose checksum holds and which decodes.
func (o *carved) takeBody(e entry, payload []byte) {
	id := bodyPlace{seq: binary.BigEndian.Uint64(e.key)}
	if len(e.key) == 12 {
		id.queue = binary.BigEndian.Uint32(e.key[8:])
	}
	if _, err := decodeBody(id.seq, payload); err != nil {
		return
	}
	if old := o.bodies[id]; old.better(e.rank) {
		o.bodies[id] = ranked[bodyRef]{e.rank, bodyRef{e.at, int64(len(e.value))}}
	}
}

func (o *carved) takeSink(e entry, payload []byte) {
	sink, err := decodeSink(e.key, payload)
	if err != nil {
		return
	}
	if old := o.sinks[sink.Name]; old.better(e.rank) {
		o.sinks[sink.Name] = ranked[Sink]{e.rank, sink}
	}
}

// second takes the entries of queues.
func (c *carver) second(e entry) {
	if len(e.key) == 12 || keyLength(e.key[0]) != len(e.key) || len(e.value) < 4 {
		return
	}
	numbers := c.numbers
	if e.number > 0 {
		numbers = []uint32{uint32(e.number)}
	}
	for _, n := range numbers {
		if payload, err := openValue(n, e.key, e.value); err == nil {
			c.out.queue(n).take(n, e.rank, e.key, payload)
			return
		}
	}
}

// take adds an entry of the queue.
func (q *carvedQueue) take(number uint32, rk rank, key, payload []byte) {
	d := fields{b: payload}
	switch key[0] {
	case kindCursor:
		if seq := d.uint64(); d.done() == nil {
			if q.cursor.better(rk) || q.cursor.rank == rk && seq > q.cursor.v {
				q.cursor = ranked[uint64]{rk, seq}
			}
			q.saw(max(seq, 1) - 1)
		}
	case kindCounts:
		if counts, entries, err := decodeCounts(payload); err == nil && q.counts.better(rk) {
			q.counts = ranked[carvedCounts]{rk, carvedCounts{counts, entries}}
		}
	case kindMark:
		q.takeMarks(rk, keySeq(key), payload)
	case kindGone:
		if g, err := decodeGone(keySeq(key), payload); err == nil {
			if old := q.gone[g.First]; old.better(rk) || old.rank == rk && g.Last > old.v.Last {
				q.gone[g.First] = ranked[Gone]{rk, g}
			}
			q.saw(g.Last)
		}
	case kindRow:
		if r, err := decodeRow(number, keySeq(key), payload); err == nil {
			q.takeRow(rk, r)
		}
	}
}

// takeMarks takes a set of marks; of several versions that are as good, what any of them has.
func (q *carvedQueue) takeMarks(rk rank, chunk uint64, set []byte) {
	n := len(set)
	if n == 0 || n > chunkSeqs/8 || chunk > 1<<48 {
		return
	}
	q.saw(chunk*chunkSeqs + uint64(n)*8)
	old := q.marks[chunk]
	switch {
	case old.better(rk):
		q.marks[chunk] = ranked[[]byte]{rk, bytes.Clone(set)}
	case old.rank == rk:
		both := make([]byte, max(n, len(old.v)))
		copy(both, old.v)
		for i, b := range set {
			both[i] |= b
		}
		q.marks[chunk] = ranked[[]byte]{rk, both}
	}
}

// takeRow takes a row, of two stale ones that which was attempted later.
func (q *carvedQueue) takeRow(rk rank, r Row) {
	old, found := q.rows[r.Seq]
	newer := cmp.Or(cmp.Compare(rk, old.rank), cmp.Compare(r.Last, old.v.Last), cmp.Compare(r.Attempts, old.v.Attempts)) > 0
	if !found || newer {
		q.rows[r.Seq] = ranked[Row]{rk, r}
	}
	q.saw(r.Seq)
}

func (q *carvedQueue) saw(seq uint64) { q.highest = max(q.highest, seq) }

// A seqRange is first ≤ seq < end.
type seqRange struct{ first, end uint64 }

var everything = seqRange{0, ^uint64(0)}

func (r seqRange) has(seq uint64) bool { return r.first <= seq && seq < r.end }

// rowsWithin returns the seqs whose rows have a key with low ≤ key < high.
func rowsWithin(low, high []byte) seqRange {
	r := everything
	switch {
	case len(low) > 0 && low[0] > kindRow || len(high) > 0 && high[0] < kindRow:
		return seqRange{}
	case len(low) == 9 && low[0] == kindRow:
		r.first = keySeq(low)
	}
	if len(high) == 9 && high[0] == kindRow {
		r.end = keySeq(high)
	}
	return r
}
