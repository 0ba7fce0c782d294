package store

import (
	"testing"
)

// A mark commit as the service makes it each second: three queues, each with a cursor, some marks and its counts.
func BenchmarkMarkCommit(b *testing.B) {
	q := openTestQueues(b, newQueuesDir(b))
	mustCommit(b, q, Change{Sinks: []Sink{liveSink("a", 1), liveSink("b", 2), liveSink("c", 3)}})
	before, n := q.written.Load(), uint64(0)
	for b.Loop() {
		n++
		var c Change
		for number := uint32(1); number <= 3; number++ {
			qc := QueueChange{Number: number, Cursor: 1000 * n, Counts: Counts{Settled: Tally{int64(n), int64(n)}}}
			for i := range uint64(64) {
				qc.Marks = append(qc.Marks, 1000*n+2*i)
			}
			c.Queues = append(c.Queues, qc)
		}
		c.QueueTime = int64(n)
		mustCommit(b, q, c)
	}
	b.ReportMetric(float64(q.written.Load()-before)/float64(n), "B-written/op")
}
