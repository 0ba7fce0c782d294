package queue

import (
	"sync"
	"testing"
)

func TestLatchLetsGoWhoWaitsBeforeAndAfter(t *testing.T) {
	for range 200 {
		var l latch
		var waiters sync.WaitGroup
		for range 4 {
			waiters.Go(func() { <-l.wait() })
		}
		if l.isSet() {
			t.Fatal("set before it was")
		}
		waiters.Go(l.set)
		waiters.Wait()
		if <-l.wait(); !l.isSet() {
			t.Fatal("not set")
		}
	}
}
