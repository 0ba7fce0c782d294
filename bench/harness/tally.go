package harness

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// A Tally counts what sinks got: a bitmap each. It is safe for concurrent use.
type Tally struct {
	sinks []counts
	left  atomic.Int64  // deliveries that are due
	full  chan struct{} // closed when none is
	last  atomic.Int64  // when the last new delivery came, in ns
	total atomic.Int64  // new deliveries
}

type counts struct {
	seen               []atomic.Uint64
	unique, duplicates atomic.Int64
	alien              atomic.Int64 // without a sequence number, or with one that was not given out
}

// NewTally counts items 0 to items-1 for a number of sinks.
func NewTally(sinks, items int) *Tally {
	t := &Tally{sinks: make([]counts, sinks), full: make(chan struct{})}
	for i := range t.sinks {
		t.sinks[i].seen = make([]atomic.Uint64, (items+63)/64)
	}
	if t.left.Store(int64(sinks) * int64(items)); t.left.Load() == 0 {
		close(t.full)
	}
	return t
}

// Scan counts every item in bodies of any form. They came together: one look at the clock is for all of them.
func (t *Tally) Scan(sink int, bodies ...[]byte) {
	c, found := &t.sinks[sink], 0
	for _, b := range bodies {
		found += c.scan(b)
	}
	c.unique.Add(int64(found))
	t.add(found)
}

// scan returns how many items of a body are new to the sink.
func (c *counts) scan(data []byte) (found int) {
	for {
		i := bytes.Index(data, mark)
		if i < 0 || len(data) < i+len(mark)+seqDigits {
			return found
		}
		data = data[i+len(mark):]
		seq, ok := seqOf(data[:seqDigits])
		if !ok || seq/64 >= uint64(len(c.seen)) {
			c.alien.Add(1)
			continue
		}
		if bit := uint64(1) << (seq % 64); c.seen[seq/64].Or(bit)&bit != 0 {
			c.duplicates.Add(1)
			continue
		}
		found++
	}
}

// seqOf reads what SetSeq wrote. strconv took a fiftieth of the processors, and they are the server's too.
func seqOf(digits []byte) (seq uint64, ok bool) {
	var b [seqDigits / 2]byte
	_, err := hex.Decode(b[:], digits)
	return binary.BigEndian.Uint64(b[:]), err == nil
}

func (t *Tally) add(found int) {
	if found == 0 {
		return
	}
	t.last.Store(time.Now().UnixNano())
	t.total.Add(int64(found))
	if t.left.Add(-int64(found)) == 0 {
		close(t.full)
	}
}

// Sinks is how many there are.
func (t *Tally) Sinks() int { return len(t.sinks) }

// Total is how many new deliveries have come.
func (t *Tally) Total() int64 { return t.total.Load() }

// lastTime is when the last new delivery came.
func (t *Tally) lastTime() time.Time { return time.Unix(0, t.last.Load()) }

// Patience is how long nothing may arrive before a wait is given up.
const Patience = 30 * time.Second

// Wait returns when everything has arrived, or an error that says what has not.
func (t *Tally) Wait(ctx context.Context) error { return t.WaitTotal(ctx, math.MaxInt64) }

// WaitTotal is Wait for a number of new deliveries since the tally was made.
func (t *Tally) WaitTotal(ctx context.Context, total int64) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	began := time.Now().UnixNano()
	for t.total.Load() < total {
		select {
		case <-t.full:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			if time.Now().UnixNano()-max(began, t.last.Load()) > int64(Patience) {
				return fmt.Errorf("%d deliveries are missing, and none came in %v", t.left.Load(), Patience)
			}
		}
	}
	return nil
}

// A Verdict is what became of the items of a run.
type Verdict struct {
	Unique     int64 `json:"unique"`
	Duplicates int64 `json:"duplicates"`
	Missing    int64 `json:"missing"`
}

// cell is for a table: what was unique, came twice, and is missing.
func (v Verdict) cell() string {
	return Count(float64(v.Unique)) + "/" + Count(float64(v.Duplicates)) + "/" + Count(float64(v.Missing))
}

// Verdict fails where something is missing, or came that nobody sent.
func (t *Tally) Verdict() (Verdict, error) {
	v := Verdict{Missing: t.left.Load()}
	for i := range t.sinks {
		c := &t.sinks[i]
		v.Unique += c.unique.Load()
		v.Duplicates += c.duplicates.Load()
		if n := c.alien.Load(); n > 0 {
			return v, fmt.Errorf("sink %d got %d items that nobody sent", i, n)
		}
	}
	if v.Missing > 0 {
		return v, fmt.Errorf("%d deliveries are missing", v.Missing)
	}
	return v, nil
}
