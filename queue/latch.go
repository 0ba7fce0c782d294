package queue

import (
	"sync"
	"sync/atomic"
)

// A latch is set once, and lets go all who wait for it. The zero value is not set.
type latch struct{ waiting atomic.Pointer[waiting] }

// A waiting is one who waits for a latch, and then for another one: a channel for each line of a stream was a tenth of what
// a service allocated.
type waiting struct {
	set  chan struct{} // gets a message when the latch is set
	next *waiting      // who waits for the same latch
}

// newWaitings is a pool of those that nobody uses.
func newWaitings() *sync.Pool {
	return &sync.Pool{New: func() any { return &waiting{set: make(chan struct{}, 1)} }}
}

// latched is what a latch has when it is set.
var latched = &waiting{}

func (l *latch) isSet() bool { return l.waiting.Load() == latched }

// set lets all who wait go on. It is called once.
func (l *latch) set() {
	w := l.waiting.Swap(latched)
	if w == latched {
		panic("queue: a latch is set twice")
	}
	for w != nil {
		next := w.next // with the message it is the waiter's again
		w.set <- struct{}{}
		w = next
	}
}

// wait returns true when the latch is set, and false if over is closed before that was seen.
func (l *latch) wait(over <-chan struct{}, free *sync.Pool) bool {
	w := free.Get().(*waiting)
	for first := l.waiting.Load(); first != latched; first = l.waiting.Load() {
		if w.next = first; !l.waiting.CompareAndSwap(first, w) {
			continue
		}
		select {
		case <-w.set:
		case <-over:
			return false // the latch has it until it is set
		}
	}
	w.next = nil
	free.Put(w)
	return true
}
