package harness

import (
	"context"
	"fmt"
	"time"
)

// A Proof says of what durability class a system is, by what it was seen to do:
//
//	A   answers after the flush
//	B   flushes for each item, but answers first
//	C   does not flush for each item: page cache, or memory
//
// Puts that come 20 ms apart share nothing, so each of class A must cost a flush, and none can be answered much faster
// than the floor is.
type Proof struct {
	System   string  `json:"system"`
	Claimed  string  `json:"claimed"`
	Class    string  `json:"class"`
	Puts     int     `json:"puts"`
	P50      float64 `json:"p50_us"`
	FloorP50 float64 `json:"floor_p50_us"`
	Flushes  float64 `json:"device_flushes_per_put"` // of the whole device: at least its own; 0 where the device does not tell
	Commits  float64 `json:"commits_per_put"`        // by the system's own count; 0: not known
	Syncs    float64 `json:"syncs_per_put"`          // as strace counts them in a run of its own; -1: nobody could look
	Confidence
}

const (
	gap        = 20 * time.Millisecond
	gapLeast   = 0.7  // of the floor's latency, below which an answer cannot have waited for the disk
	flushLeast = 0.95 // for each put
	tracePuts  = 20
)

// Prove finds the class, with a floor of the same kind before and after.
func (s *Session) Prove(ctx context.Context, sys, floor System) (Proof, error) {
	puts, control := gapLoad(150), gapLoad(50)
	if s.Smoke {
		puts, control = gapLoad(15), gapLoad(15)
	}
	at := func(sys System, w Workload) func(context.Context) (Sample, error) {
		return func(ctx context.Context) (Sample, error) { return s.RunAt(ctx, sys, w, float64(time.Second/gap)) }
	}
	change := Change[Sample]{"class of " + sys.Name, 1, P50, Between(at(floor, control), at(sys, puts))}
	pairs, c, err := change.Run(ctx, s)
	if err != nil {
		return Proof{}, fmt.Errorf("class of %s: %w", sys.Name, err)
	}
	got := pairs[0].Treated
	p := Proof{System: sys.Name, Claimed: sys.Class, Puts: puts.Items, P50: got.Latency.P50, FloorP50: (P50(pairs[0].Before) + P50(pairs[0].After)) / 2,
		Flushes: got.Flushes, Commits: got.Syncs, Confidence: c}
	if p.Syncs, err = s.countSyncs(ctx, sys); err != nil {
		return Proof{}, fmt.Errorf("class of %s, traced: %w", sys.Name, err)
	}
	p.judge(deviceOf(s.Scratch).flushes > 0, sys.HidesSyncs)
	return p, nil
}

// gapLoad is one producer that puts now and then.
func gapLoad(puts int) Workload { return Workload{"gap", 1, 1, puts} }

// judge finds the class; what nobody tells counts for nothing.
func (p *Proof) judge(deviceTells, hidesSyncs bool) {
	flushes := !deviceTells || p.Flushes >= flushLeast
	if p.Syncs >= 0 && !hidesSyncs {
		flushes = flushes && p.Syncs >= flushLeast
	}
	switch {
	case !flushes:
		p.Class = "C"
	case p.P50 < gapLeast*p.FloorP50:
		p.Class = "B"
	default:
		p.Class = "A"
	}
}

// countSyncs is how many times a system asks for a flush, for each put; -1 where nobody can look: there is no strace, or
// the system is in this process.
func (s *Session) countSyncs(ctx context.Context, sys System) (each float64, err error) {
	each = -1
	_, err = s.live(ctx, sys, gapLoad(tracePuts), func(ctx context.Context, r Running) (p Produced, err error) {
		put := func() error {
			p, err = Offer(ctx, gapLoad(tracePuts), 0, float64(time.Second/gap), r.Dial)
			return err
		}
		pids := r.PIDs()
		if len(pids) == 0 {
			return p, put()
		}
		calls, err := Trace(ctx, pids, put)
		if calls != nil {
			each = float64(calls["fdatasync"]+calls["fsync"]+calls["msync"]) / tracePuts
		}
		return p, err
	})
	return each, err
}
