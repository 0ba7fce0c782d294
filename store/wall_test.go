package store

import (
	"os"
	"path/filepath"
	"testing"
)

// Guarantee G10, in part: the wall clock's time counts for the queue time that it was read with, and for no other.
func TestWallTimeIsThatOfItsQueueTime(t *testing.T) {
	dir := newQueuesDir(t)
	q := openTestQueues(t, dir)
	told := func(what string, queue, wall int64) {
		t.Helper()
		q = reopenTestQueues(t, q)
		gotQueue, gotWall := q.times()
		equal(t, what+": queue time", gotQueue, queue)
		equal(t, what+": wall time", gotWall, wall)
	}
	told("a new store", 0, 0)
	mustCommit(t, q, Change{QueueTime: 5, WallTime: 7})
	told("both", 5, 7)
	mustCommit(t, q, Change{Sinks: []Sink{{Name: "wall", State: Active, Queues: []SinkQueue{{Number: 1, Live: true}}}}})
	told("a commit without times", 5, 7)
	_, err := q.update(0, func(tx *transaction) error { tx.meta.QueueTime = 8; return nil }) // a program that knows no wall time
	equal(t, "error", err, nil)
	told("one of another moment", 8, 0)
	mustCommit(t, q, Change{QueueTime: 9, WallTime: 3})
	told("the wall clock went back", 9, 3)
	mustCommit(t, q, Change{QueueTime: 10})
	told("nobody looked", 10, 0)
}

// Guarantee G10, in part: also where queues.db was made anew.
func TestARebuiltQueuesDBKeepsTheWallTime(t *testing.T) {
	dir := newQueuesDir(t)
	q := openTestQueues(t, dir)
	mustCommit(t, q, Change{QueueTime: 5, WallTime: 7, Sinks: []Sink{{Name: "wall", State: Active, Queues: []SinkQueue{{Number: 1, Live: true}}}}})
	mustCommit(t, q, Change{QueueTime: 6, WallTime: 900})
	equal(t, "error", q.close(), nil)
	path := filepath.Join(dir, queuesName)
	b, err := os.ReadFile(path)
	equal(t, "error", err, nil)
	clear(b[:2*os.Getpagesize()]) // both meta pages
	equal(t, "error", os.WriteFile(path, b, 0o600), nil)
	plan, err := PlanRebuild(dir, [16]byte{1}, false)
	equal(t, "error", err, nil)
	equal(t, "error", plan.Write(), nil)
	equal(t, "error", plan.Close(), nil)
	q = openTestQueues(t, dir)
	queue, wall := q.times()
	equal(t, "queue time", queue, int64(6))
	equal(t, "wall time", wall, int64(900))
	equal(t, "sinks", len(q.allSinks()), 1)
	equal(t, "error", q.close(), nil)
}
