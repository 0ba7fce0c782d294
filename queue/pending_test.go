package queue

import (
	"reflect"
	"sync"
	"testing"

	"holdfast/store"
)

// Who waits for the keys of a request waits for its latch, and its join is somebody's: neither is taken away. Of what is used
// again nothing is left.
func TestReleaseTakesWhatNobodyLooksAt(t *testing.T) {
	for name, c := range map[string]struct {
		p     *Pending
		taken bool
	}{
		"with keys": {&Pending{keys: []*seen{nil}}, false},
		"with join": {&Pending{join: &Join{}}, false},
		"alone":     {&Pending{source: "http", bytes: 5, items: []store.Item{{Seq: 1}}, dups: []bool{true}, accepted: Accepted{Receipts: []Receipt{{}}}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := c.p
			p.queues = &Queues{pendings: &sync.Pool{}}
			p.done.set()
			p.Release()
			if !c.taken && !p.done.isSet() {
				t.Error("it is taken")
			}
			if c.taken && !reflect.DeepEqual(p, &Pending{}) {
				t.Errorf("left: %+v", p)
			}
		})
	}
}
