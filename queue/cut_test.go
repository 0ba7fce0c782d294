package queue_test

import (
	"fmt"
	"os"
	"testing"

	"holdfast/queue"
)

// Guarantees G6, G7, in part: the end of the log is cut off. What waits is right, then and after the next start.
func TestDepthIsRightWhenTheEndOfTheLogIsLost(t *testing.T) {
	for _, clean := range []bool{true, false} {
		for _, settled := range []int{0, 30, 60} {
			t.Run(fmt.Sprintf("clean %t, %d settled", clean, settled), func(t *testing.T) {
				b := newHealingBench(t, queue.Options{Sinks: []queue.SinkOptions{none("a", 1000), none("b", 1000)}})
				b.fill(60, 1000)
				b.settle("a", done, b.take("a", settled)...)
				b.flush()
				if clean {
					b.stop()
				} else {
					b.crash()
					b.halt()
					b.ok(b.st.Close())
				}
				paths := globLogs(b.bench)
				b.ok(os.Truncate(paths[0], 30000))
				b.start()
				for range 3 {
					b.drain("a", "b")
					b.flush()
					for _, s := range b.q.Sinks() {
						equal(t, s.Name+" waits", []int64{s.Waiting, s.WaitingBytes}, []int64{0, 0})
					}
					b.restart()
				}
			})
		}
	}
}
