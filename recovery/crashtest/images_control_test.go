//go:build linux

package crashtest_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/recovery/crashtest/trace"
	"holdfast/recovery/crashtest/trace/script"
)

// A lie is a kind of flush that returns and does nothing, every other time; the next one of the kind makes all of it
// durable again.
type lie struct {
	name string
	skip func(l *liar, step int, e trace.Event) bool // whether this flush does nothing
	told func(l *liar, m script.Mark) bool           // whether the mark says what relied on it
	ends func(l *liar, step int) bool                // whether this step ends the epoch
}

// A liar is a lie under way.
type liar struct {
	*lab
	lie
	skipped bool // a flush did nothing, and nobody relied on it yet
	open    bool // somebody did: what images are made now may be wrong
	even    bool // the one to come is honest
	version int

	left         int // images that the epoch may still have
	made, epochs int
	flagged      atomic.Int64 // of the images made
}

// lies are about the flushes of which the engine may leave none out.
var lies = []lie{
	{
		name: "the log is not flushed",
		skip: func(l *liar, _ int, e trace.Event) bool {
			return strings.HasSuffix(e.Path, ".log") && !l.skipped && !l.open && l.turn()
		},
		told: func(l *liar, m script.Mark) bool { return m.Acked != nil },
		ends: func(l *liar, step int) bool {
			e, ok := l.end(step, trace.Sync)
			return ok && strings.HasSuffix(e.Path, ".log")
		},
	},
	{
		name: "queues.db is not flushed",
		skip: func(l *liar, _ int, e trace.Event) bool { return e.Path == "data/queues.db" && l.version%2 == 1 },
		told: func(l *liar, m script.Mark) bool { return m.Durable != 0 },
		ends: func(l *liar, step int) bool {
			e, ok := l.end(step, trace.Sync)
			return ok && e.Path == "data/queues.db"
		},
	},
	{
		name: "the directory is not flushed at a rotation",
		skip: func(l *liar, step int, e trace.Event) bool { return e.Path == "data/log" && l.rotates(step) },
		told: func(l *liar, m script.Mark) bool { return m.Acked != nil },
		ends: func(l *liar, step int) bool { e, ok := l.end(step, trace.Sync); return ok && e.Path == "data/log" },
	},
}

// turn is true every other time.
func (l *liar) turn() bool { l.even = !l.even; return l.even }

// rotates reports whether the last thing that was done to a name before a step was that a segment got its own.
func (l *liar) rotates(step int) bool {
	for i := step - 1; i >= 0; i-- {
		if s := l.Steps[i]; s.Event >= 0 {
			switch e := &l.Events[s.Event]; e.Kind {
			case trace.Rename:
				return e.Path == "data/log/spare.tmp"
			case trace.Make, trace.Remove, trace.MakeDir:
				return false
			}
		}
	}
	return false
}

// controls is the control of the crash images: with one kind of flush left out, at least half of the images between what
// relied on it and the next flush that makes it good must be flagged. Only images count that are without something of what
// the flush should have covered: the others are as they should be.
func controls(t *testing.T, r *recording) string {
	t.Helper()
	var told []string
	for _, lie := range lies {
		l := &liar{lab: newLab(t, r, *seed), lie: lie}
		l.within(8 * time.Second)
		l.caught()
		told = append(told, l.red())
	}
	return strings.Join(told, "; ")
}

// red fails unless enough was flagged, and says how much.
func (l *liar) red() string {
	l.Helper()
	l.done.Wait()
	flagged := int(l.flagged.Load())
	if l.epochs < 3 || 2*flagged < l.made || l.made < 30 {
		l.Errorf("control: %s: %d of %d images of %d epochs are flagged: that is not red", l.name, flagged, l.made, l.epochs)
	}
	return fmt.Sprintf("%s: %d %% of %d flagged", l.name, flagged*100/max(l.made, 1), l.made)
}

// try makes one image, if it is without something of what the flush should have covered, and reports whether it is.
func (l *liar) try(p *trace.Pending, m *moment, stream uint64) bool {
	c := p.Sample(rand.New(rand.NewPCG(l.seed, stream)))
	if !p.Lacks(c) {
		return false
	}
	l.made++
	l.send(job{id: "control", pending: p, moment: m, choice: func() trace.Choice { return c }, then: func(v verdict) {
		if !v.ok() {
			l.flagged.Add(1)
		}
	}})
	return true
}

// perStep is how many images are made at each step of an epoch, and perEpoch the most of one.
const perStep, perEpoch = 4, 20

// caught plays the recording with the lie, and makes images where it counts.
func (l *liar) caught() {
	honest := func(step int, e trace.Event) bool {
		if e.Kind != trace.Sync || !l.skip(l, step, e) {
			return true
		}
		l.skipped = true
		return false
	}
	ready := false
	l.walk(func(step int, e trace.Event) bool { return !ready || honest(step, e) }, func(f frame) {
		ready = f.moment.ready
		if f.step > 0 {
			l.hear(f.step - 1)
		}
		if f.step == len(l.Steps) || !l.open || l.left == 0 || l.over() {
			return
		}
		p := l.pending(f)
		for k := range min(perStep, l.left) {
			if l.try(p, f.moment, uint64(f.step*perStep+k)) {
				l.left--
			}
		}
	})
}

// hear follows the epochs past a step that was played.
func (l *liar) hear(step int) {
	if l.open && l.ends(l, step) {
		l.open, l.skipped = false, false
	}
	m, ok := l.marks[step]
	if !ok {
		return
	}
	if m.Begin != nil && len(m.Begin.Changes) > 0 {
		l.version++
	}
	if l.skipped && !l.open && l.told(l, m) {
		l.open, l.left = true, perEpoch
		l.epochs++
	}
}
