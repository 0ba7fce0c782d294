package queue_test

import (
	"testing"
	"testing/synctest"
	"time"

	"holdfast/queue"
)

// Guarantee C6: an attempt that is spent is written down, however soon the next one follows. Only probes are not.
func TestEveryAttemptIsWrittenHoweverSoonTheNextIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, named("a")...)
		b.put("x")
		for n := range 4 {
			d := b.take("a", 1)[0]
			equal(t, "attempts", d.Attempts, n)
			b.settle("a", queue.Outcome{Kind: queue.Retry, After: 100 * time.Millisecond, Err: "down"}, d)
			b.flush()
			if n%2 == 1 {
				b.crash()
			}
			time.Sleep(101 * time.Millisecond)
		}
		equal(t, "then", b.take("a", 1)[0].Attempts, 4)
		b.stop()
	})
}
