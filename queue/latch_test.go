package queue

import (
	"sync"
	"testing"
)

func TestLatchLetsGoWhoWaitsBeforeAndAfter(t *testing.T) {
	free := newWaitings()
	for range 200 {
		var l, never latch
		var waiters sync.WaitGroup
		over := make(chan struct{})
		for range 4 {
			waiters.Go(func() {
				if !l.wait(nil, free) || !l.isSet() {
					t.Error("it was not set")
				}
			})
			waiters.Go(func() {
				if never.wait(over, free) {
					t.Error("it was set")
				}
			})
		}
		if l.isSet() {
			t.Fatal("set before it was")
		}
		waiters.Go(func() {
			l.set()
			if l.wait(nil, free); !l.isSet() {
				t.Error("not set")
			}
			close(over)
		})
		waiters.Wait()
		never.set() // nobody waits any more
	}
}
