package queue

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// inCompany runs a test of a company, in which waiting is how many requests wait for the committer.
func inCompany(t *testing.T, f func(c *company, waiting *atomic.Int64, wait func(requests int) time.Duration)) {
	synctest.Test(t, func(t *testing.T) {
		c, waiting := &company{here: make(chan struct{}, 1)}, new(atomic.Int64)
		f(c, waiting, func(requests int) time.Duration {
			began := time.Now()
			c.wait(t.Context(), requests, func() int { return int(waiting.Load()) })
			return time.Since(began)
		})
	})
}

func TestGroupWaitsForThoseWhoWereJustAnswered(t *testing.T) {
	inCompany(t, func(c *company, waiting *atomic.Int64, wait func(int) time.Duration) {
		c.wrote(3, 1, 10*time.Millisecond)
		for i := range 3 { // the others come back one by one
			time.AfterFunc(time.Duration(i+1)*time.Millisecond, func() { c.came(int(waiting.Add(1))) })
		}
		if took := wait(1); took != 3*time.Millisecond || waiting.Load() != 3 {
			t.Errorf("it took %v, and %d have come", took, waiting.Load())
		}
		if took := wait(1); took != 0 {
			t.Errorf("all are there, and it waits for %v", took)
		}
		if took := wait(4); took != 0 {
			t.Errorf("all are in the group, and it waits for %v", took)
		}
	})
}

func TestSingleProducerWaitsForNobody(t *testing.T) {
	inCompany(t, func(c *company, _ *atomic.Int64, wait func(int) time.Duration) {
		for range 3 {
			if took := wait(1); took != 0 {
				t.Errorf("it waits for %v", took)
			}
			c.wrote(1, 0, 10*time.Millisecond)
		}
	})
}

// A disk that hung for long does not make the next group wait as long; and a group does not wait for more than can wait.
func TestWaitForCompanyHasBounds(t *testing.T) {
	inCompany(t, func(c *company, waiting *atomic.Int64, wait func(int) time.Duration) {
		c.wrote(2, 0, time.Minute)
		if took := wait(1); took != longest {
			t.Errorf("it waits for %v", took)
		}
		c.wrote(3*maxRequests, 0, time.Minute)
		if waiting.Store(maxRequests); wait(1) != 0 {
			t.Error("as many as can be are there, and it waits")
		}
	})
}

// Half of a write is the most that a group waits, and what was in vain is not repeated at once.
func TestWaitInVainIsShortAndSeldom(t *testing.T) {
	inCompany(t, func(c *company, waiting *atomic.Int64, wait func(int) time.Duration) {
		waits := 0
		for range 200 {
			c.wrote(2, 0, 10*time.Millisecond)
			switch took := wait(1); took {
			case 0:
			case 5 * time.Millisecond:
				waits++
			default:
				t.Fatalf("it waits for %v", took)
			}
		}
		if waits != 8 { // after 0, 1, 3, 7, 15, 31, 63, 63 without
			t.Errorf("%d waits of 200", waits)
		}
		for c.skip > 0 {
			wait(1)
		}
		time.AfterFunc(time.Millisecond, func() { waiting.Store(1); c.came(1) })
		if took := wait(1); took != time.Millisecond {
			t.Errorf("company came after %v", took)
		}
		if waiting.Store(0); wait(1) == 0 {
			t.Error("after a wait that was not in vain the next group does not wait")
		}
	})
}

func TestStopEndsTheWaitForCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &company{here: make(chan struct{}, 1)}
		c.wrote(2, 0, time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		began := time.Now()
		c.wait(ctx, 1, func() int { return 0 })
		if took := time.Since(began); took != time.Millisecond || c.want.Load() != 0 {
			t.Errorf("it took %v", took)
		}
	})
}
