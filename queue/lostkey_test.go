package queue_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/google/uuid"

	"holdfast/queue"
)

// keyed accepts an item with an idempotency key, and a body of its own, of a thousand bytes.
func (b *bench) keyed(i int) queue.Receipt {
	b.Helper()
	a, err := b.request(queue.Request{Items: []queue.Item{{IdempotencyKey: fmt.Sprint("k", i), Body: fmt.Appendf(nil, "%-*d", 1000, i)}}})
	b.ok(err)
	return a.Receipts[0]
}

// Guarantees A4, G6, in part: who repeats an item that is known to be lost before somebody had it has it accepted anew, now,
// when the segment is long gone, and after a restart; one that everybody had stays a duplicate.
func TestTheRepeatOfALostItemIsAcceptedAnew(t *testing.T) {
	const had, lost, late, later, never = 0, 33, 34, 35, 36 // by all before it was damaged; repeated at once, when the segment is gone, after restarts; not lost
	b := newHealingBench(t, queue.Options{Sinks: named("a", "b"), Handover: 1})
	var ids []uuid.UUID
	for i := range 600 {
		ids = append(ids, b.keyed(i).ID)
	}
	for _, sink := range []string{"a", "b"} {
		b.settle(sink, done, b.take(sink, 1)...)
	}
	b.stop()
	for _, i := range []int{had, lost, late, later} {
		b.harm(fmt.Sprintf("%-*d", 1000, i), func(c []byte) { c[500] ^= 1 })
	}
	b.start()
	b.ok(b.q.Pause(t.Context(), "b"))
	b.drain("a")
	repeat := func(when string, i int, anew bool) {
		t.Helper()
		r := b.keyed(i)
		equal(t, fmt.Sprint(when, ": item ", i, " is a duplicate"), r.Duplicate, !anew)
		equal(t, fmt.Sprint(when, ": item ", i, " has its first id"), r.ID == ids[i], !anew)
		ids[i] = r.ID
	}
	for _, i := range []int{had, never, 599} {
		repeat("at once", i, false)
	}
	repeat("at once", lost, true)
	repeat("again", lost, false)
	b.ok(b.q.Resume(t.Context(), "b"))
	equal(t, "delivered to a", len(b.drain("a")), 1)
	first := globLogs(b.bench)[0]
	for range 4 {
		b.put("more")
		b.drain("a", "b")
		b.flush()
	}
	if _, err := os.Stat(first); err == nil {
		t.Fatal("the segment is still there")
	}
	repeat("its segment is gone", late, true)
	for _, when := range []string{"its segment is gone", "and a restart"} {
		repeat(when, had, false)
		repeat(when, never, false)
		repeat(when, lost, false)
		b.restart()
		b.put("more")
		b.drain("a", "b")
		b.flush()
	}
	repeat("at last", later, true)
	b.drain("a", "b")
	b.restart()
	repeat("in the end", later, false)
}

// Guarantees A4, G6, in part: likewise of a segment that is missing, whose keys outlive it.
func TestTheRepeatOfAnItemOfAMissingSegmentIsAcceptedAnew(t *testing.T) {
	b := newHealingBench(t, queue.Options{Sinks: named("a"), Handover: 1})
	ids := map[int]uuid.UUID{}
	for i := range 600 {
		ids[i] = b.keyed(i).ID
	}
	b.settle("a", done, b.take("a", 1)...)
	b.stop()
	b.ok(os.Remove(globLogs(b.bench)[0]))
	b.start()
	for range 2 {
		b.drain("a")
		b.flush()
		b.restart()
	}
	equal(t, "what was delivered is a duplicate", b.keyed(0).Duplicate, true)
	r := b.keyed(1)
	equal(t, "what was lost is", r.Duplicate || r.ID == ids[1], false)
	equal(t, "what was not lost is", b.keyed(599).ID, ids[599])
	equal(t, "delivered", len(b.drain("a")), 1)
}
