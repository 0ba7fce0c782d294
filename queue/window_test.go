package queue_test

import (
	"testing"
	"testing/synctest"
	"time"

	"holdfast/queue"
)

// Guarantee A4, in part: the window is as long as it says, to the millisecond.
func TestKeyIsKnownToTheEndOfItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBenchOf(t, queue.Options{Sinks: named("a"), DedupeWindow: time.Hour})
		dup := func() bool {
			t.Helper()
			a, err := b.request(keyed("k", "body"))
			b.ok(err)
			return a.Receipts[0].Duplicate
		}
		equal(t, "first", dup(), false)
		time.Sleep(time.Hour)
		equal(t, "after an hour", dup(), true)
		time.Sleep(time.Millisecond)
		equal(t, "a millisecond later", dup(), false)
		b.stop()
	})
}
