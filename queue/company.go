package queue

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A company is the producers that a group commit may wait for. A flush costs about the same whatever is in it, and who was
// answered a moment ago is often back at once: 64 producers that put one item each make one group of 64 so, and two or three
// without. But where items come when they come, a wait only keeps those waiting who are there.
//
// Which of the two it is shows in what there is to do meanwhile. Groups are written alone for a while and then together, and
// together only as long as the process is about as busy: then it has answers to send and requests to read while it waits.
// What did better is kept for longer the next time. Over sockets 64 producers get 1.1 times as far so on streams and
// 1.2 times with POST, for 0.85 of the CPU. Half as many items a second as those can put at most, but on a schedule, would
// leave the process idle for a third of the time, and wait three times as long: they are written alone.
type company struct {
	here chan struct{} // holds a message when as many are there as are wanted
	want atomic.Int32  // 0: the committer does not wait

	// The committer's.
	cpu      func() time.Duration // that the process has used
	used     time.Duration        // when the last group was written
	ended    time.Time            // likewise
	expected int                  // as many as were answered then, with those that had come meanwhile
	waits    bool                 // groups are written together
	alone    pace
	together pace
}

// A pace is how it goes while groups are written alone, or together, in stays that take turns.
type pace struct {
	stay     int // groups of this one
	written  int // of those
	requests int // of the newest of them
	took     time.Duration
	cpu      time.Duration
}

const (
	leastStay   = 16
	longestStay = 4096 // a second or two of a service that is busy
	enough      = 12   // groups before a stay together may end early
	newest      = 128  // from so many groups on, those before count half, and so on

	// What a stay together must have of what there was alone. On two cores of which others take some, the first is 0.85 to 1.1
	// for producers that come back at once, and 0.5 to 0.8 for those on a schedule; the second is 0.9 to 1.3 and 0.8 to 1.
	leastBusy, leastRate = 0.8, 0.9
	leastSoon            = 0.7 // of the rate, before the stay is over

	// longestWait is for a disk that hung, and for producers that have gone.
	longestWait = 5 * time.Millisecond
)

func newCompany(cpu func() time.Duration) company {
	return company{here: make(chan struct{}, 1), cpu: cpu, alone: pace{stay: leastStay}, together: pace{stay: leastStay}}
}

// cpuTime is what all threads of the process have used.
func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// came is told of each request how many now wait for the committer.
func (c *company) came(waiting int) {
	if want := int(c.want.Load()); want > 0 && waiting >= want {
		poke(c.here)
	}
}

// wrote is told of each group that was written, before it is answered: how many requests it has, and how many wait.
func (c *company) wrote(requests, waiting int, took time.Duration) {
	now, used := time.Now(), c.cpu()
	between, cpu := now.Sub(c.ended), used-c.used
	c.expected, c.ended, c.used = requests+waiting, now, used
	if between > took+longestWait {
		return // after a pause, which says nothing
	}
	if !c.waits {
		c.alone.add(requests, between, cpu)
		c.waits = c.alone.over()
		return
	}
	c.together.add(requests, between, cpu)
	switch over := c.together.over(); {
	case over && c.pays(leastRate):
		c.part(2*leastStay, 4*c.together.stay)
	case over, c.together.written >= enough && !c.pays(leastSoon):
		c.part(2*c.alone.stay, leastStay)
	}
}

func (c *company) pays(leastRate float64) bool {
	return c.together.busy() >= leastBusy*c.alone.busy() && c.together.perSecond() >= leastRate*c.alone.perSecond()
}

// part ends a stay together, and sets how long the next ones are.
func (c *company) part(alone, together int) {
	c.waits = false
	c.alone, c.together = pace{stay: min(alone, longestStay)}, pace{stay: min(together, longestStay)}
}

// wait returns when those who are expected beyond a group's requests are there, or as many as can be, or would be if groups
// were written alone; and when it is not worth it, or ctx ends.
func (c *company) wait(ctx context.Context, requests int, waiting func() int) {
	more := min(c.expected-requests, maxRequests)
	if !c.waits || more <= 0 || waiting() >= more {
		return
	}
	alone := float64(c.expected) / c.alone.perSecond() * float64(time.Second)
	patience := min(time.Duration(alone), longestWait) - time.Since(c.ended)
	if patience <= 0 {
		return
	}
	c.want.Store(int32(more))
	defer c.want.Store(0)
	t := time.NewTimer(patience)
	defer t.Stop()
	for waiting() < more {
		select {
		case <-c.here:
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// add counts a group.
func (p *pace) add(requests int, took, cpu time.Duration) {
	if p.written++; p.written%newest == 0 {
		p.requests, p.took, p.cpu = p.requests/2, p.took/2, p.cpu/2
	}
	p.requests, p.took, p.cpu = p.requests+requests, p.took+took, p.cpu+cpu
}

func (p *pace) over() bool { return p.written >= p.stay }

func (p *pace) perSecond() float64 { return float64(p.requests) / p.took.Seconds() }

func (p *pace) busy() float64 { return p.cpu.Seconds() / p.took.Seconds() }
