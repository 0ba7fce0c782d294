package store

import (
	"fmt"
	"os"
	"slices"
	"testing"
)

// Guarantee G7, in part: what a queue settles of a damaged segment, by its rows and its stream, is what it is counted
// with, to the byte: nothing is left waiting when all is settled.
func TestLostItemsCountAsTheyAreSettled(t *testing.T) {
	h := &healingStore{t: t, opts: Options{SegmentBytes: 64 << 10, BlockBytes: 4 << 10}}
	h.opts.Quarantine = func(string, bool) error { return nil }
	h.opts.Healed = func(x Healing) { h.healed = append(h.healed, x) }
	h.Store = openStore(t, newQueuesDir(t))
	mustStore(t, h.Store, Change{Sinks: []Sink{liveSink("a", 1)}})
	var rows []Row
	var marks []uint64
	for seq := uint64(1); len(h.log.views()) < 4; seq++ {
		body := fmt.Sprintf("%0*d", 200+seq%97, seq)
		if _, err := h.Append([]Item{{Seq: seq, Time: 1, Mask: maskA, Body: []byte(body)}}, 1, nil); err != nil {
			t.Fatal(err)
		}
		if seq%3 == 0 {
			rows = append(rows, Row{Seq: seq, State: RowRetry, Owes: true, Bytes: int64(len(body)), Next: 1})
			marks = append(marks, seq)
		}
	}
	equal(t, "error", h.Seal(), nil)
	mustStore(t, h.Store, Change{QueueTime: 2, Queues: []QueueChange{{Number: 1, Cursor: 1, Marks: marks, Rows: rows}}})
	want, g := h.Accepted(1), h.sealed(1).seg
	b, err := os.ReadFile(g.path)
	equal(t, "error", err, nil)
	clear(b[g.start+1000 : g.start+9000])
	equal(t, "error", os.WriteFile(g.path, b, 0o600), nil)
	h.reopen() // in order: a start does not read the segment
	sum, _, err := h.queues.sumRows(1)
	equal(t, "error", err, nil)
	for r := h.Reader(1, 0); ; {
		b, err := r.Next()
		if err != nil {
			break
		}
		for i := range b.Items {
			switch it := &b.Items[i]; {
			case slices.Contains(marks, it.Seq):
			case it.Lost != nil:
				sum = sum.Add(Tally{1, it.Lost.Bytes})
			default:
				sum = sum.Add(Tally{1, int64(len(it.Body))})
			}
		}
	}
	if len(h.healed) == 0 || h.healed[0].Lost == 0 {
		t.Errorf("nothing is lost: %+v", h.healed)
	}
	equal(t, "settled", sum, want)
}
