package store

import (
	"errors"
	"math"
	"testing"
)

func TestDeadLettersExpireInTheOrderOfTheirTimes(t *testing.T) {
	q := openTestQueues(t, newQueuesDir(t))
	var rows []Row
	for seq := range uint64(2 * readMost) { // expiries 1, 2, 3 and never, mixed with rows that are not dead
		rows = append(rows, Row{Seq: 10 + seq, State: RowDead, Next: int64(seq % 4)})
	}
	rows = append(rows, Row{Seq: 1, State: RowRetry, Next: 1}, Row{Seq: 2, State: RowReady}, Row{Seq: 3, State: RowNotDue, Next: 1})
	mustCommit(t, q, Change{Sinks: []Sink{liveSink("a", 1), liveSink("b", 2)}, Queues: []QueueChange{{Number: 1, Cursor: 1, Rows: rows}}})
	per := 2 * readMost / 4
	for _, c := range []struct {
		now         int64
		limit, want int
	}{{0, 10, 0}, {1, 10, 10}, {1, 1 << 20, per}, {2, 1 << 20, 2 * per}, {2, per + 1, per + 1}, {3, 1 << 20, 3 * per}, {math.MaxInt64, 1 << 20, 3 * per}, {3, 0, 0}} {
		got, err := q.expired(1, c.now, c.limit)
		equal(t, "error", err, nil)
		equal(t, "expired", len(got), c.want)
		for i := range got {
			if i > 0 && (got[i].Next < got[i-1].Next || got[i].Next == got[i-1].Next && got[i].Seq <= got[i-1].Seq) {
				t.Fatalf("%d after %d", got[i].Seq, got[i-1].Seq)
			}
			equal(t, "row", got[i], rows[got[i].Seq-10])
		}
	}
	next := func(want int64, there bool) {
		t.Helper()
		at, found, err := q.nextExpiry(1)
		equal(t, "error", err, nil)
		equal(t, "found", found, there)
		equal(t, "next", at, want)
	}
	next(1, true)
	for now := int64(1); now <= 3; now++ {
		var gone []uint64
		got, err := q.expired(1, now, 1<<20)
		equal(t, "error", err, nil)
		for _, r := range got {
			gone = append(gone, r.Seq)
		}
		mustCommit(t, q, Change{Queues: []QueueChange{{Number: 1, Cursor: 1, RowsGone: gone}}})
		next((now+1)%4, now < 3)
	}
	_, found, err := q.nextExpiry(2)
	equal(t, "found in an empty queue", found, false)
	equal(t, "error", err, nil)
	_, _, err = q.nextExpiry(9)
	equal(t, "no such queue", errors.Is(err, ErrNotFound), true)
	_, err = q.expired(9, 1, 1)
	equal(t, "no such queue", errors.Is(err, ErrNotFound), true)
}

// Rows with negative times sort before the others.
func TestNegativeExpiriesComeFirst(t *testing.T) {
	q := openTestQueues(t, newQueuesDir(t))
	rows := []Row{{Seq: 1, State: RowDead, Next: 5}, {Seq: 2, State: RowDead, Next: -5}, {Seq: 3, State: RowDead}}
	mustCommit(t, q, Change{Sinks: []Sink{liveSink("a", 1)}, Queues: []QueueChange{{Number: 1, Cursor: 1, Rows: rows}}})
	got, err := q.expired(1, 0, 9)
	equal(t, "error", err, nil)
	equal(t, "expired", got, rows[1:2])
	at, _, _ := q.nextExpiry(1)
	equal(t, "next", at, int64(-5))
}

// An ack that is owed is there with the mark that made it so, or neither is; it goes when the hook has returned, and an
// ack that is owed and done in one change was never owed. Guarantee E4, in part: what the store has to do.
func TestAcksAreDurableWithTheMarksThatOweThem(t *testing.T) {
	s := openStore(t, newQueuesDir(t))
	mustStore(t, s, Change{Sinks: []Sink{liveSink("a", 1)}})
	mustAppend(t, s, 10)
	type image struct {
		dir    string
		cursor uint64
		acks   []Ack
	}
	var images []image
	step := func(c Change, cursor uint64, acks ...Ack) {
		t.Helper()
		mustStore(t, s, c)
		got, err := s.Acks(0, 100)
		equal(t, "error", err, nil)
		equal(t, "acks", got, acks)
		images = append(images, image{crash(t, s), cursor, acks})
	}
	settle := func(cursor uint64) []QueueChange { return []QueueChange{{Number: 1, Cursor: cursor}} }
	step(Change{Queues: settle(1)}, 1)
	step(Change{Queues: settle(4), Acks: []Ack{{1, 70}, {2, 71}, {3, 0}}}, 4, Ack{1, 70}, Ack{2, 71}, Ack{3, 0})
	step(Change{Acked: []uint64{2, 77}}, 4, Ack{1, 70}, Ack{3, 0}) // of one that is not there, too
	step(Change{Queues: settle(6), Acks: []Ack{{4, 72}, {5, 0}}, Acked: []uint64{1, 3}}, 6, Ack{4, 72}, Ack{5, 0})
	step(Change{Queues: settle(7), Acks: []Ack{{6, 74}}, Acked: []uint64{6, 4}}, 7, Ack{5, 0})
	step(Change{Acks: []Ack{{5, 73}}}, 7, Ack{5, 73}) // it was in doubt
	step(Change{Acked: []uint64{5}}, 7)
	// A change that is refused leaves both as they were.
	err := s.Commit(Change{Queues: []QueueChange{{Number: 1, Cursor: 9}, {Number: 99}}, Acks: []Ack{{8, 75}}, Acked: []uint64{5}})
	equal(t, "refused", err != nil, true)
	step(Change{}, 7)
	for _, i := range images {
		killed := openStore(t, i.dir)
		got, err := killed.Acks(0, 100)
		equal(t, "error", err, nil)
		equal(t, "acks", got, i.acks)
		state, err := killed.LoadQueue(1)
		equal(t, "error", err, nil)
		equal(t, "cursor", state.Cursor, i.cursor)
		equal(t, "error", killed.Close(), nil)
	}
}

// Guarantee E4, in part: what a commit says nothing of is looked at by the next start, however much is durable.
func TestNotedIsWhatTheNewestCommitSays(t *testing.T) {
	s := openStore(t, newQueuesDir(t))
	mustStore(t, s, Change{Sinks: []Sink{liveSink("a", 1)}})
	mustAppend(t, s, 10)
	for _, step := range []struct{ said, want uint64 }{{4, 4}, {8, 8}, {99, 11}, {0, 11}, {3, 11}} {
		mustStore(t, s, Change{Noted: step.said})
		killed := openStore(t, crash(t, s))
		equal(t, "noted", killed.Noted(), step.want)
		equal(t, "error", killed.Close(), nil)
	}
}
