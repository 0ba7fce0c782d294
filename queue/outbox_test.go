package queue

import (
	"testing"

	"holdfast/store"
)

// The room of an outbox is used again, grows with what is out, and shrinks after it.
func TestOutboxKeepsItsSlotsWhereverTheyMove(t *testing.T) {
	var o outbox
	next := uint64(0)
	for _, out := range []int{1, 70, 3, 20_000, 5} {
		for range 50_000 {
			if n := o.add(&store.Item{Seq: next}); n != next {
				t.Fatalf("item %d has slot %d", next, n)
			}
			for next++; o.open > out; {
				n := o.first
				s := o.get(n)
				if s == nil || s.seq != n || s.item.Seq != n {
					t.Fatalf("slot %d is %+v", n, s)
				}
				o.settle(s)
			}
		}
		if most := max(4096, 8*(out+1)); len(o.room) > most {
			t.Errorf("%d are out, and there is room for %d", out, len(o.room))
		}
	}
}
