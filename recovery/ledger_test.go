package recovery_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"holdfast/recovery"
	"holdfast/store"
)

// A ledger is a store with what a record beside it says of every delivery: the record is kept by the test, and not read
// from the store.
type ledger struct {
	*bench
	r      *rand.Rand
	bodies map[uint64]string // by seq, of every item
	pad    int               // bytes of a body
	queues []*account
	time   int64
}

// An account is one queue's part of the record.
type account struct {
	number  uint32
	stream  map[uint64]bool      // accepted, and neither settled nor a row
	rows    map[uint64]store.Row // not settled, or dead
	settled map[uint64]bool
	edited  map[uint64]string // bodies that are this queue's own
	marks   map[uint64]bool   // settled in the stream
	counts  store.Counts
	end     uint64 // seq after the last
}

func newLedger(t testing.TB, seed uint64, sinks, pad int) *ledger {
	l := &ledger{bench: newBench(t), r: rand.New(rand.NewPCG(seed, 1)), bodies: map[uint64]string{}, pad: pad, time: 10}
	l.queues = []*account{newAccount(l.queue)}
	for i := range sinks - 1 {
		n := l.st.NextQueue()
		sink := store.Sink{Name: fmt.Sprint("sink", i), State: store.Active, Queues: []store.SinkQueue{{Number: n, Live: true}}}
		l.commit(store.Change{Sinks: []store.Sink{sink}, Queues: []store.QueueChange{{Number: n, Cursor: 1}}})
		l.queues = append(l.queues, newAccount(n))
	}
	return l
}

func newAccount(n uint32) *account {
	return &account{number: n, stream: map[uint64]bool{}, rows: map[uint64]store.Row{}, settled: map[uint64]bool{},
		edited: map[uint64]string{}, marks: map[uint64]bool{}, end: 1}
}

// accept appends items for some of the queues.
func (l *ledger) accept(n int) {
	l.Helper()
	var items []store.Item
	for i := range n {
		seq := l.st.Next() + uint64(i)
		body := fmt.Sprintf("item %d of %d: %s", seq, l.r.Uint64(), bytes.Repeat([]byte("y"), l.r.IntN(l.pad)+l.pad/2))
		mask := &store.Mask{}
		for _, q := range l.queues {
			q.end = seq + 1
			if l.r.IntN(4) > 0 {
				mask.To = append(mask.To, q.number)
				q.stream[seq] = true
			}
		}
		l.bodies[seq] = body
		items = append(items, store.Item{Seq: seq, Time: 1_000_000 + int64(seq), Mask: mask, Body: []byte(body), Key: fmt.Sprint("key", seq%7)})
	}
	if _, err := l.st.Append(items, 5, nil); err != nil {
		l.Fatal(err)
	}
}

// settle makes one commit of things that happen to deliveries.
func (l *ledger) settle() {
	l.Helper()
	l.time++
	c := store.Change{QueueTime: l.time}
	for _, q := range l.queues {
		qc := store.QueueChange{Number: q.number}
		for _, seq := range slices.Sorted(maps.Keys(q.stream)) {
			switch l.r.IntN(8) {
			case 0, 1, 2:
				l.done(q, seq)
			case 3:
				l.aside(q, &qc, &c, seq)
			}
		}
		for _, seq := range slices.Sorted(maps.Keys(q.rows)) {
			if l.r.IntN(6) == 0 {
				l.move(q, &qc, &c, seq)
			}
		}
		l.books(q, &qc)
		c.Queues = append(c.Queues, qc)
	}
	l.commit(c)
}

// books are the queue's cursor, marks and counts.
func (l *ledger) books(q *account, qc *store.QueueChange) {
	qc.Cursor = q.end
	if len(q.stream) > 0 {
		qc.Cursor = slices.Min(slices.Collect(maps.Keys(q.stream)))
	}
	for seq := range q.marks {
		if seq < qc.Cursor {
			delete(q.marks, seq)
		}
	}
	qc.Marks, qc.Counts = slices.Sorted(maps.Keys(q.marks)), q.counts
}

func (l *ledger) sum(seq uint64) store.Tally {
	return store.Tally{Items: 1, Bytes: int64(len(l.bodies[seq]))}
}

func (l *ledger) done(q *account, seq uint64) {
	delete(q.stream, seq)
	q.marks[seq], q.settled[seq] = true, true
	q.counts.Settled = q.counts.Settled.Add(l.sum(seq))
}

// aside makes a row of a delivery of the stream.
func (l *ledger) aside(q *account, qc *store.QueueChange, c *store.Change, seq uint64) {
	delete(q.stream, seq)
	q.marks[seq] = true
	row := store.Row{Seq: seq, State: store.RowRetry, Owes: true, Attempts: 2, Bytes: int64(len(l.bodies[seq])), First: 5, Last: l.time,
		Next: 77, KeyHash: seq % 7, FirstError: "delivery failed: first", LastError: fmt.Sprint("delivery failed: ", l.r.Uint64())}
	switch l.r.IntN(4) {
	case 0:
		l.bury(q, &row)
	case 1:
		row.State = store.RowReady
		l.evacuate(c, seq)
	}
	q.rows[seq] = row
	qc.Rows = append(qc.Rows, row)
}

func (l *ledger) bury(q *account, row *store.Row) {
	sum := store.Tally{Items: 1, Bytes: row.Bytes}
	row.State, row.Owes, row.Next = store.RowDead, false, 0
	q.counts.Dead, q.counts.Settled = q.counts.Dead.Add(sum), q.counts.Settled.Add(sum)
}

func (l *ledger) evacuate(c *store.Change, seq uint64) {
	it, err := l.st.Item(0, seq)
	if err != nil {
		l.Fatal(err)
	}
	if !slices.ContainsFunc(c.Bodies, func(b store.Body) bool { return b.Item.Seq == seq && b.Queue == 0 }) {
		c.Bodies = append(c.Bodies, store.Body{Item: it})
	}
}

// move changes a row: it is delivered, buried, requeued, or purged.
func (l *ledger) move(q *account, qc *store.QueueChange, c *store.Change, seq uint64) {
	row := q.rows[seq]
	row.Last, row.LastError = l.time, fmt.Sprint("delivery failed: ", l.r.Uint64())
	sum := store.Tally{Items: 1, Bytes: row.Bytes}
	switch dead := row.State == store.RowDead; {
	case dead && l.r.IntN(3) == 0:
		q.counts.Dead = q.counts.Dead.Sub(sum)
		qc.Gone = append(qc.Gone, store.Gone{First: seq, Last: seq, Reason: store.GonePurged})
		l.over(q, qc, seq)
		return
	case dead:
		row.State = store.RowReady
		q.counts.Dead, q.counts.Requeued = q.counts.Dead.Sub(sum), q.counts.Requeued.Add(sum)
	case l.r.IntN(2) == 0:
		q.counts.Settled = q.counts.Settled.Add(sum)
		l.over(q, qc, seq)
		return
	default:
		l.bury(q, &row)
	}
	q.rows[seq] = row
	qc.Rows = append(qc.Rows, row)
}

func (l *ledger) over(q *account, qc *store.QueueChange, seq uint64) {
	delete(q.rows, seq)
	q.settled[seq] = true
	qc.RowsGone = append(qc.RowsGone, seq)
}

// release lets the segments go that nothing is owed of, and evacuates what the oldest still owes.
func (l *ledger) release() {
	l.Helper()
	if err := l.st.Seal(); err != nil {
		l.Fatal(err)
	}
	for _, g := range l.st.Segments() {
		if !g.Sealed || !g.Owed {
			continue
		}
		l.empty(g)
		break
	}
	free := l.st.Free()
	l.commit(store.Change{})
	if _, err := l.st.Release(free); err != nil {
		l.Fatal(err)
	}
}

// empty moves what a segment owes out of it.
func (l *ledger) empty(g store.Segment) {
	l.time++
	c := store.Change{QueueTime: l.time}
	for it, err := range l.st.Owed(g.Serial) {
		if err != nil {
			l.Fatal(err)
		}
		item := it.Item
		item.Body, item.Key = bytes.Clone(item.Body), strings.Clone(item.Key)
		c.Bodies = append(c.Bodies, store.Body{Item: item})
	}
	for _, q := range l.queues {
		qc := store.QueueChange{Number: q.number}
		for seq := range q.stream {
			if seq >= g.First && seq < g.End {
				delete(q.stream, seq)
				q.marks[seq] = true
				row := store.Row{Seq: seq, State: store.RowReady, Owes: true, Bytes: int64(len(l.bodies[seq]))}
				q.rows[seq] = row
				qc.Rows = append(qc.Rows, row)
			}
		}
		slices.SortFunc(qc.Rows, func(a, b store.Row) int { return int(a.Seq) - int(b.Seq) })
		l.books(q, &qc)
		c.Queues = append(c.Queues, qc)
	}
	l.commit(c)
}

// live lets the store live for so many rounds.
func (l *ledger) live(rounds, items int) {
	l.Helper()
	for i := range rounds {
		l.accept(items)
		l.settle()
		if i%6 == 5 {
			l.release()
		}
	}
}

// stock accepts items that stay: they are rows, with their bodies outside the log.
func (l *ledger) stock(n int) {
	l.Helper()
	l.accept(n)
	if err := l.st.Seal(); err != nil {
		l.Fatal(err)
	}
	for _, g := range l.st.Segments() {
		l.empty(g)
	}
	free := l.st.Free()
	l.commit(store.Change{})
	if _, err := l.st.Release(free); err != nil {
		l.Fatal(err)
	}
}

// A verdict says what a store lacks or has too much of, against the record.
type verdict struct {
	lost, wrong, repeated, owed int
	asleep                      int // owed, and a dead letter again
	notes                       []string
}

func (v *verdict) note(format string, args ...any) {
	v.notes = append(v.notes, fmt.Sprintf(format, args...))
}

// compare looks at everything that the store in dir would deliver.
func (l *ledger) compare(st *store.Store) (v verdict) {
	l.Helper()
	for _, q := range l.queues {
		l.compareQueue(&v, st, q)
	}
	return v
}

func (l *ledger) compareQueue(v *verdict, st *store.Store, q *account) {
	state, err := st.LoadQueue(q.number)
	if err != nil {
		v.note("queue %d: %v", q.number, err)
		v.lost += len(q.stream) + len(q.rows)
		return
	}
	goes, waiting := l.delivered(v, st, q, state)
	dead := map[uint64]bool{}
	rows, err := st.Rows(q.number, 0, 1<<20, store.RowDead)
	if err != nil {
		l.Fatal(err)
	}
	for _, row := range rows {
		dead[row.Seq] = true
		l.payload(v, st, q.number, row.Seq)
	}
	if got := st.Accepted(q.number).Sub(state.Counts.Settled).Add(state.Counts.Requeued); got != waiting {
		v.note("queue %d: the counts say that %v wait, and %v do", q.number, got, waiting)
		v.wrong++
	}
	if n := int64(len(dead)); n != state.Counts.Dead.Items {
		v.note("queue %d: the counts say that %d are dead, and %d are", q.number, state.Counts.Dead.Items, n)
		v.wrong++
	}
	v.owed += len(q.stream) + len(q.rows)
	for seq := range q.stream {
		if !goes[seq] {
			v.note("queue %d: item %d is not delivered", q.number, seq)
			v.lost++
		}
	}
	for seq, row := range q.rows {
		switch {
		case goes[seq] || row.State == store.RowDead && dead[seq]:
		case dead[seq]:
			v.note("queue %d: item %d was requeued, and is dead", q.number, seq)
			v.asleep++
		default:
			v.note("queue %d: item %d, in state %d, is not delivered", q.number, seq, row.State)
			v.lost++
		}
	}
	for seq := range goes {
		if q.settled[seq] || q.rows[seq].State == store.RowDead {
			v.repeated++
		}
	}
}

// delivered are the seqs that the queue would hand out, with the tally of them.
func (l *ledger) delivered(v *verdict, st *store.Store, q *account, state store.QueueState) (map[uint64]bool, store.Tally) {
	goes, waiting := map[uint64]bool{}, store.Tally{}
	marked := map[uint64]bool{}
	for _, seq := range state.Marks {
		marked[seq] = true
	}
	add := func(seq uint64, bytes int) {
		if goes[seq] {
			v.note("queue %d: item %d is delivered twice", q.number, seq)
			v.wrong++
		}
		goes[seq] = true
		waiting = waiting.Add(store.Tally{Items: 1, Bytes: int64(bytes)})
	}
	for r := st.Reader(q.number, state.Cursor); ; {
		block, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			l.Fatal(err)
		}
		for _, it := range block.Items {
			if it.Seq >= state.Cursor && it.Mask.Has(q.number) && !marked[it.Seq] {
				if string(it.Body) != l.bodies[it.Seq] {
					v.note("queue %d: item %d has another body", q.number, it.Seq)
					v.wrong++
				}
				add(it.Seq, len(it.Body))
			}
		}
	}
	rows, err := st.Rows(q.number, 0, 1<<20, store.RowReady, store.RowRetry, store.RowNotDue, store.RowBlocked)
	if err != nil {
		l.Fatal(err)
	}
	for _, row := range rows {
		if l.payload(v, st, q.number, row.Seq) {
			add(row.Seq, int(row.Bytes))
		}
	}
	return goes, waiting
}

// payload compares the item of a row, and reports whether it is there.
func (l *ledger) payload(v *verdict, st *store.Store, number uint32, seq uint64) bool {
	it, err := st.Item(number, seq)
	switch {
	case err != nil:
		v.note("queue %d: item %d: %v", number, seq, err)
		v.wrong++
		return false
	case string(it.Body) != l.bodies[seq]:
		v.note("queue %d: item %d has another body", number, seq)
		v.wrong++
	}
	return true
}

// heal opens the directory and compares; the store is closed again.
func (l *ledger) heal(dir string) (v verdict, r recovery.Report, err error) {
	l.Helper()
	st, r, err := recovery.Open(dir, small)
	if err != nil {
		return v, r, err
	}
	v = l.compare(st)
	return v, r, st.Close()
}
