package queue

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// inCompany runs a test of a company whose groups are written together, where n requests a millisecond come to groups that
// are written alone. waiting is how many requests wait for the committer.
func inCompany(t *testing.T, n int, f func(c *company, waiting *atomic.Int64, wait func(requests int) time.Duration)) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		c, waiting := newCompany(func() time.Duration { return time.Since(began) }), new(atomic.Int64)
		for !c.waits {
			time.Sleep(time.Millisecond)
			c.wrote(n, 0, time.Millisecond)
		}
		c.together.stay = longTrusted // it is no try any more
		f(&c, waiting, func(requests int) time.Duration {
			began := time.Now()
			c.wait(t.Context(), requests, func() int { return int(waiting.Load()) })
			return time.Since(began)
		})
	})
}

func TestGroupWaitsForThoseWhoWereJustAnswered(t *testing.T) {
	inCompany(t, 1, func(c *company, waiting *atomic.Int64, wait func(int) time.Duration) {
		c.wrote(3, 1, time.Millisecond)
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
	inCompany(t, 1, func(c *company, _ *atomic.Int64, wait func(int) time.Duration) {
		for range 15 {
			time.Sleep(time.Millisecond)
			c.wrote(1, 0, time.Millisecond)
			if took := wait(1); took != 0 || !c.waits {
				t.Errorf("it waits for %v; together: %v", took, c.waits)
			}
		}
	})
}

// A group waits no longer than as many take to come alone, counted from the group before; nor for more than can wait, nor for
// long.
func TestWaitForCompanyHasBounds(t *testing.T) {
	inCompany(t, 2, func(c *company, waiting *atomic.Int64, wait func(int) time.Duration) {
		c.wrote(6, 0, time.Millisecond)
		time.Sleep(time.Millisecond)
		if took := wait(1); took != 2*time.Millisecond {
			t.Errorf("it waits for %v where 6 take 3 ms, of which 1 is over", took)
		}
		if took := wait(1); took != 0 {
			t.Errorf("it waits for %v where all time is over", took)
		}
		c.wrote(600, 0, time.Minute)
		if took := wait(1); took != longestWait {
			t.Errorf("it waits for %v", took)
		}
		c.wrote(3*maxRequests, 0, time.Minute)
		if waiting.Store(maxRequests); wait(1) != 0 {
			t.Error("as many as can be are there, and it waits")
		}
	})
}

// A try makes nobody wait for long, whoever is expected: or it would be seen in the p99 of a load on a schedule.
func TestTryWaitsForLittle(t *testing.T) {
	inCompany(t, 1, func(c *company, _ *atomic.Int64, wait func(int) time.Duration) {
		c.together.stay = longTrusted - 1
		c.wrote(600, 0, time.Minute)
		if took := wait(1); took != tryWait {
			t.Errorf("it waits for %v", took)
		}
	})
}

// Waits in vain count, as long as they may be: nobody waits for ever for producers that have gone.
func TestWaitsInVainEnd(t *testing.T) {
	inCompany(t, 1, func(c *company, _ *atomic.Int64, wait func(int) time.Duration) {
		var waited time.Duration
		for range 16 {
			c.expected = 100
			waited += wait(1)
			time.Sleep(time.Millisecond + time.Microsecond)
			c.wrote(1, 0, time.Millisecond)
		}
		if c.waits || waited < longestWait {
			t.Errorf("after %v of waits in vain groups wait: %v", waited, c.waits)
		}
	})
}

func TestStopEndsTheWaitForCompany(t *testing.T) {
	inCompany(t, 1, func(c *company, _ *atomic.Int64, _ func(int) time.Duration) {
		c.wrote(100, 0, time.Minute)
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		began := time.Now()
		c.wait(ctx, 1, func() int { return 0 })
		if took := time.Since(began); took != time.Millisecond || c.want.Load() != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// A load is what a group has, how long it is after the one before, and how busy the process is, where groups are written alone
// and together.
type load struct{ alone, together way }

type way struct {
	requests int
	takes    time.Duration
	busy     float64
}

// Producers that come back at once, and those that come on a schedule: all 64 are in a group that waits. Those that share the
// process with a drain, which takes the time that a group waits: it is always busy, but fewer come.
var (
	eager     = load{way{28, 650 * time.Microsecond, 1.05}, way{64, 1350 * time.Microsecond, 0.95}}
	scheduled = load{way{8, 350 * time.Microsecond, 1.05}, way{64, 2800 * time.Microsecond, 0.7}}
	drained   = load{way{28, 650 * time.Microsecond, 1.9}, way{64, 2000 * time.Microsecond, 1.9}}
)

// A test of which way it goes.
type wayTest struct {
	company
	used time.Duration
}

func newWayTest() *wayTest {
	t := &wayTest{}
	t.company = newCompany(func() time.Duration { return t.used })
	return t
}

// write writes so many requests, and returns the share of them that was written together.
func (t *wayTest) write(l load, requests int) float64 {
	together := 0
	for left := requests; left > 0; {
		w := l.alone
		if t.waits {
			w = l.together
			together += w.requests
		}
		time.Sleep(w.takes)
		t.used += time.Duration(w.busy * float64(w.takes))
		t.wrote(w.requests, 0, w.takes/2)
		left -= w.requests
	}
	return float64(together) / float64(requests)
}

func TestGroupsAreWrittenTogetherWhereThereIsEnoughToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWayTest()
		for range 2 { // the load may change
			c.write(eager, 500_000) // a stay alone may have as many
			if share := c.write(eager, 1_000_000); share < 0.97 {
				t.Errorf("%.3f of those who come back at once are together", share)
			}
			for _, l := range []load{scheduled, drained} {
				if share := c.write(l, 100_000); share > 0.25 {
					t.Errorf("at first %.3f of %v wait", share, l)
				}
				c.write(l, 1_000_000)
				if share := c.write(l, 1_000_000); share > 0.01 {
					t.Errorf("%.3f of %v wait", share, l)
				}
			}
		}
	})
}

// What a machine does to a long stay for less than half a second does not end it.
func TestHiccupDoesNotPartACompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWayTest()
		for range 100_000 {
			if c.waits && c.together.stay > 1024 {
				break
			}
			c.write(eager, 1)
		}
		c.write(eager, 64*200)
		c.write(load{eager.alone, way{64, 1900 * time.Microsecond, 0.95}}, 64*200)
		if !c.waits {
			t.Error("it ended")
		}
	})
}

// Of a few hundred items a second hardly any come while another waits.
func TestFewItemsWaitForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWayTest()
		for range 1000 {
			time.Sleep(4 * time.Millisecond)
			c.used += 100 * time.Microsecond
			c.wrote(1, 1, 300*time.Microsecond)
			began := time.Now()
			if c.wait(t.Context(), 1, func() int { return 0 }); c.waits || time.Since(began) > 0 {
				t.Fatalf("a group waits for %v; together: %v", time.Since(began), c.waits)
			}
		}
	})
}

// A pause is not the pace at which requests come: those of a burst are together, whatever is between two bursts.
func TestPauseIsNotThePaceOfACompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWayTest()
		var share float64
		const bursts = 200
		for range bursts {
			share += c.write(eager, 2000) / bursts
			time.Sleep(time.Second)
		}
		if share < 0.9 {
			t.Errorf("%.3f of those who come back at once are together", share)
		}
	})
}

// What the process has used is known, or every wait would look idle.
func TestProcessKnowsWhatItUsed(t *testing.T) {
	began, used := time.Now(), cpuTime()
	for time.Since(began) < 50*time.Millisecond {
	}
	if n := cpuTime() - used; n < 5*time.Millisecond {
		t.Errorf("it used %v of 50 ms in which it did not rest", n)
	}
}
