package store

import (
	"maps"
	"math"
	"slices"
	"testing"

	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// A queueModel is what a queue should be, without any cleverness.
type queueModel struct {
	cursor uint64
	marks  []uint64
	counts Counts
	rows   map[uint64]Row
	gone   map[uint64]Reason
}

type bodyID struct {
	queue uint32
	seq   uint64
}

type model struct {
	sinks  map[string]Sink
	queues map[uint32]*queueModel
	bodies map[bodyID]Item
	acks   map[uint64]int64
	time   int64
}

// modelSeqs keeps seqs close together, so that changes meet; it spans three chunks of marks.
func modelSeq() *rapid.Generator[uint64] {
	return rapid.Custom(func(t *rapid.T) uint64 {
		return rapid.SampledFrom([]uint64{1, 4090, 8185}).Draw(t, "base") + rapid.Uint64Range(0, 12).Draw(t, "offset")
	})
}

func drawRow(t *rapid.T) Row {
	return Row{
		Seq: modelSeq().Draw(t, "seq"), State: RowState(rapid.IntRange(1, 5).Draw(t, "state")), Owes: rapid.Bool().Draw(t, "owes"),
		Next: rapid.Int64Range(-2, 3).Draw(t, "next"), KeyHash: rapid.Uint64Range(0, 2).Draw(t, "hash"),
		Attempts: rapid.Uint32().Draw(t, "attempts"), Bytes: rapid.Int64Range(0, math.MaxInt64).Draw(t, "bytes"),
		LastError: rapid.SampledFrom([]string{"", "x"}).Draw(t, "error"),
	}
}

func drawQueueChange(t *rapid.T, number uint32) QueueChange {
	c := QueueChange{Number: number, Cursor: modelSeq().Draw(t, "cursor")}
	for _, seq := range rapid.SliceOfN(modelSeq(), 0, 6).Draw(t, "marks") {
		if seq >= c.Cursor {
			c.Marks = append(c.Marks, seq)
		}
	}
	slices.Sort(c.Marks)
	c.Marks = slices.Compact(c.Marks)
	c.Counts.Settled.Items = rapid.Int64Range(0, 2).Draw(t, "settled")
	c.Rows = rapid.SliceOfN(rapid.Custom(drawRow), 0, 5).Draw(t, "rows")
	c.RowsGone = rapid.SliceOfN(modelSeq(), 0, 5).Draw(t, "rows gone")
	for range rapid.IntRange(0, 2).Draw(t, "gone") {
		first := modelSeq().Draw(t, "first")
		c.Gone = append(c.Gone, Gone{first, first + rapid.Uint64Range(0, 4).Draw(t, "length"), Reason(rapid.IntRange(1, 3).Draw(t, "reason"))})
	}
	return c
}

func (m *model) draw(t *rapid.T) Change {
	c := Change{QueueTime: rapid.Int64Range(0, 3).Draw(t, "time")}
	numbers := slices.Sorted(maps.Keys(m.queues))
	for i, name := range []string{"a", "b", "c"} {
		if _, there := m.sinks[name]; !there && rapid.Bool().Draw(t, "new sink") {
			c.Sinks = append(c.Sinks, liveSink(name, uint32(2*i+1), uint32(2*i+2)))
			numbers = append(numbers, uint32(2*i+1), uint32(2*i+2))
		}
	}
	for _, number := range numbers {
		if rapid.Bool().Draw(t, "change") {
			c.Queues = append(c.Queues, drawQueueChange(t, number))
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "bodies") {
		number := rapid.SampledFrom(append(numbers, 0)).Draw(t, "queue")
		it := Item{Seq: modelSeq().Draw(t, "seq"), Mask: &Mask{}, Key: rapid.StringN(0, 3, 9).Draw(t, "key")}
		c.Bodies = append(c.Bodies, Body{number, it})
	}
	for _, seq := range rapid.SliceOfN(modelSeq(), 0, 2).Draw(t, "acks") {
		c.Acks = append(c.Acks, Ack{seq, rapid.Int64().Draw(t, "time")})
	}
	c.Acked = rapid.SliceOfN(modelSeq(), 0, 4).Draw(t, "acked")
	return c
}

func (m *model) apply(c *Change) {
	if c.QueueTime != 0 {
		m.time = c.QueueTime
	}
	for _, s := range c.Sinks {
		m.sinks[s.Name] = s
		for _, sq := range s.Queues {
			m.queues[sq.Number] = &queueModel{cursor: 1, rows: map[uint64]Row{}, gone: map[uint64]Reason{}}
		}
	}
	for _, b := range c.Bodies {
		m.bodies[bodyID{b.Queue, b.Item.Seq}] = b.Item
	}
	for i := range c.Queues {
		m.applyQueue(&c.Queues[i])
	}
	maps.DeleteFunc(m.bodies, func(id bodyID, _ Item) bool {
		for number, q := range m.queues {
			if _, row := q.rows[id.seq]; row && (id.queue == 0 || id.queue == number) {
				return false
			}
		}
		return true
	})
	for _, a := range c.Acks {
		m.acks[a.Seq] = a.Time
	}
	for _, seq := range c.Acked {
		delete(m.acks, seq)
	}
}

func (m *model) applyQueue(c *QueueChange) {
	q := m.queues[c.Number]
	q.cursor, q.marks, q.counts = c.Cursor, c.Marks, c.Counts
	for _, r := range c.Rows {
		q.rows[r.Seq] = r
	}
	for _, seq := range c.RowsGone {
		delete(q.rows, seq)
		delete(m.bodies, bodyID{c.Number, seq})
	}
	for _, g := range c.Gone {
		for seq := g.First; seq <= g.Last; seq++ {
			if q.gone[seq] == 0 {
				q.gone[seq] = g.Reason
			}
		}
	}
}

func (m *model) owed(number uint32, seq uint64) bool {
	_, row := m.queues[number].rows[seq]
	_, evacuated := m.bodies[bodyID{0, seq}]
	_, edited := m.bodies[bodyID{number, seq}]
	return row && !evacuated && !edited
}

// compare looks at everything that queues can be asked.
func (m *model) compare(t *rapid.T, q *queues) {
	equal(t, "queue time", q.meta.QueueTime, m.time)
	equal(t, "sinks", len(q.allSinks()), len(m.sinks))
	for _, s := range q.allSinks() {
		equal(t, "sink", s, m.sinks[s.Name])
	}
	acks, err := q.acks(0, 100)
	equal(t, "error", err, nil)
	var want []Ack
	for _, seq := range slices.Sorted(maps.Keys(m.acks)) {
		want = append(want, Ack{seq, m.acks[seq]})
	}
	equal(t, "acks", acks, want)
	for number, qm := range m.queues {
		m.compareQueue(t, q, number, qm)
	}
	for range 5 {
		first, end := modelSeq().Draw(t, "first"), modelSeq().Draw(t, "end")
		var want Tally
		for number, qm := range m.queues {
			for seq := range qm.rows {
				if first <= seq && seq < end && m.owed(number, seq) {
					want = want.Add(Tally{1, qm.rows[seq].Bytes})
				}
			}
		}
		equal(t, "owed", q.owedBetween(first, end), want)
	}
}

func (m *model) compareQueue(t *rapid.T, q *queues, number uint32, qm *queueModel) {
	s, err := q.loadQueue(number)
	equal(t, "error", err, nil)
	equal(t, "queue", s, QueueState{number, qm.cursor, qm.marks, qm.counts})
	var rows, ready []Row
	index := map[string]bool{}
	for _, seq := range slices.Sorted(maps.Keys(qm.rows)) {
		r := qm.rows[seq]
		rows = append(rows, r)
		if r.State == RowReady {
			ready = append(ready, r)
		}
		for _, key := range rowIndex(&r) {
			index[string(key)] = true
		}
		it, found, err := q.body(number, seq)
		equal(t, "error", err, nil)
		want, there := m.bodies[bodyID{number, seq}]
		if !there {
			want, there = m.bodies[bodyID{0, seq}]
		}
		equal(t, "body", it, want)
		equal(t, "found", found, there)
	}
	got, err := q.rows(number, 0, 1000, nil)
	equal(t, "error", err, nil)
	equal(t, "rows", got, rows)
	got, _ = q.readyRows(number, 0, 1000)
	equal(t, "ready", got, ready)
	equal(t, "index", indexOf(t, q, number), index)
	for seq := range uint64(20) {
		reason, _, err := q.gone(number, seq)
		equal(t, "error", err, nil)
		equal(t, "gone", reason, qm.gone[seq])
	}
}

func indexOf(t *rapid.T, q *queues, number uint32) map[string]bool {
	index := map[string]bool{}
	err := q.view(func(tx *bolt.Tx) error {
		e, err := q.queueBucket(tx, number)
		for _, kind := range []byte{kindDue, kindExpiry, kindKey, kindWall} {
			for _, key := range e.keys([]byte{kind}, 1000) {
				index[string(key)] = true
			}
		}
		return err
	})
	equal(t, "error", err, nil)
	return index
}

func TestQueuesAreTheModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := newQueuesDir(t)
		q, err := openQueues(dir)
		equal(rt, "error", err, nil)
		defer func() { _ = q.close() }()
		m := &model{sinks: map[string]Sink{}, queues: map[uint32]*queueModel{}, bodies: map[bodyID]Item{}, acks: map[uint64]int64{}}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			c := m.draw(rt)
			m.apply(&c)
			_, err := q.commit(&c, logView{})
			equal(rt, "error", err, nil)
			if rapid.IntRange(0, 3).Draw(rt, "reopen") == 0 {
				equal(rt, "error", q.close(), nil)
				q, err = openQueues(dir)
				equal(rt, "error", err, nil)
			}
			m.compare(rt, q)
		}
	})
}
