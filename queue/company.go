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
// What did better is kept for longer the next time. Over sockets 64 producers get 1.1 times as far so, with less of the CPU.
// Half as many items a second as those can put at most, but on a schedule, would leave the process idle for a third of the
// time, and wait four times as long: they are written alone.
type company struct {
	here chan struct{} // holds a message when as many are there as are wanted
	want atomic.Int32  // 0: the committer does not wait

	// The committer's.
	cpu      func() time.Duration // that the process has used
	used     time.Duration        // when the last group was written
	ended    time.Time            // likewise
	expected int                  // as many as were answered then, with those that had come meanwhile
	waits    bool                 // groups are written together
	waited   bool                 // the group that is being written did
	alone    pace
	together pace
}

// A pace is how it goes while groups are written alone, or together, in stays that take turns.
type pace struct {
	stay     int // groups of this one
	written  int // of those
	requests int // of the newest of them
	took     time.Duration
	writing  time.Duration // of that
	cpu      time.Duration
}

const (
	leastStay   = 16
	longestStay = 16384 // some seconds of a service that is busy
	leastJudged = 8     // groups before a stay together may end early
	halvedEvery = 128   // so many groups: what was before counts half

	// What a stay together must have of what there was alone. On two cores of which others take some, the first is 0.85 to 1.1
	// for producers that come back at once, and 0.5 to 0.8 for those on a schedule; the second is 0.9 to 1.3 and 0.8 to 1.
	leastBusy, leastRate = 0.8, 0.9
	leastRateSoon        = 0.7 // before the stay is over

	// leastWriting is the share of its time that the committer must write, alone, for a wait to be worth a try: who puts a few
	// hundred items a second only waits.
	leastWriting = 0.25

	// longestWait is for a disk that hung, and for producers that come slowly or have gone. A longer pause than that says nothing.
	longestWait = 5 * time.Millisecond

	// tryWait is for a stay that is not as long as longTrusted: those are to find out, and what waits no longer than that is not
	// seen in the p99.
	tryWait     = time.Millisecond
	longTrusted = 16 * leastStay
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
func (c *company) wrote(requests, waiting int, writing time.Duration) {
	now, used := time.Now(), c.cpu()
	g := pace{written: 1, requests: requests, took: now.Sub(c.ended), writing: writing, cpu: used - c.used}
	paused := !c.waited && g.took > writing+longestWait
	c.expected, c.ended, c.used, c.waited = requests+waiting, now, used, false
	switch {
	case paused:
	case c.waits:
		c.together.add(g)
		c.judgeTogether()
	default:
		c.alone.add(g)
		c.judgeAlone()
	}
}

// judgeAlone begins a stay together once that alone is over, or another one alone.
func (c *company) judgeAlone() {
	if !c.alone.over() {
		return
	}
	if c.waits = c.alone.share(c.alone.writing) >= leastWriting; !c.waits {
		c.alone = pace{stay: c.alone.stay}
	}
}

// judgeTogether ends a stay together that is over, or does not pay.
func (c *company) judgeTogether() {
	switch over := c.together.over(); {
	case over && c.pays(leastRate):
		c.part(2*leastStay, 4*c.together.stay)
	case over, c.together.written >= leastJudged && !c.pays(leastRateSoon):
		c.part(4*c.alone.stay, leastStay)
	}
}

// pays reports whether the process is about as busy together as alone, and that share of the requests comes.
func (c *company) pays(rate float64) bool {
	a, t := &c.alone, &c.together
	return t.share(t.cpu) >= leastBusy*a.share(a.cpu) && t.perSecond() >= rate*a.perSecond()
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
	take := time.Duration(float64(c.expected) / c.alone.perSecond() * float64(time.Second))
	longest := longestWait
	if c.together.stay < longTrusted {
		longest = tryWait
	}
	patience := min(take, longest) - time.Since(c.ended)
	if patience <= 0 {
		return
	}
	c.waited = true
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
func (p *pace) add(g pace) {
	if p.written += g.written; p.written%halvedEvery == 0 {
		p.requests, p.took, p.writing, p.cpu = p.requests/2, p.took/2, p.writing/2, p.cpu/2
	}
	p.requests, p.took, p.writing, p.cpu = p.requests+g.requests, p.took+g.took, p.writing+g.writing, p.cpu+g.cpu
}

func (p *pace) over() bool { return p.written >= p.stay }

func (p *pace) perSecond() float64 { return float64(p.requests) / p.took.Seconds() }

func (p *pace) share(of time.Duration) float64 { return of.Seconds() / p.took.Seconds() }
