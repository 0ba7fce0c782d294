package crashtest_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"holdfast/recovery/crashtest/book"
)

// Guarantees G1, E1, B1. Guarantees A1, G7, M2, in part: a kill leaves what was written in the page cache, so this proves
// the replay and not the flushes; gauges are held against what the book can know.
func TestKilledProcessLosesNothing(t *testing.T) {
	sum := line{fault: "kill -9, 3 sinks", cases: *kills}
	for left := *kills; left > 0; left -= ofOneStore {
		t.Run(fmt.Sprint(left), func(t *testing.T) { killed(t, min(left, ofOneStore), uint64(left), &sum) })
	}
	table.line(t, sum)
}

// ofOneStore is how often the processes of one store are killed: each start is compared with the whole book.
const ofOneStore = 250

// killed kills the processes of one store, and judges it at the end.
func killed(t *testing.T, kills int, draw uint64, sum *line) {
	r := newRig(t, three()...)
	rnd := rand.New(rand.NewPCG(*seed, draw))
	producers := four(r)
	for n := range kills {
		life, at := time.Duration(20+rnd.IntN(380))*time.Millisecond, producers
		if n%10 == 9 { // long enough for a mark that comes late to show, and nobody waits for whom marks are made at once
			life, at = 1200*time.Millisecond, producers[1:]
		}
		r.start()
		r.checkGauges()
		r.live(life, at)
	}
	began := r.book.Record()
	r.start()
	r.checkGauges()
	r.finish(producers[2])
	r.drain()
	v := r.judge(bounds)
	r.checkBooks(began)
	sum.control = r.controls(v)
	sum.add(v)
	t.Log(v)
	if v.Acked < kills*10 || v.Repeats == 0 && kills > 10 {
		t.Errorf("this proves little: %d items acked, %d repeated", v.Acked, v.Repeats)
	}
}

// live has the producers send for a while, kills the service, and waits for what they have to tell.
func (r *rig) live(d time.Duration, producers []func(context.Context)) {
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	var all sync.WaitGroup
	for _, produce := range producers {
		all.Go(func() { produce(ctx) })
	}
	r.wait(ctx, d)
	at := time.Now()
	r.process.Kill()
	stop()
	all.Wait()
	r.end(at)
}

// finish lets the producer with keys send again what is uncertain.
func (r *rig) finish(keyed func(context.Context)) {
	ctx, stop := context.WithTimeout(r.Context(), 200*time.Millisecond)
	defer stop()
	keyed(ctx)
}

// checkGauges compares what the service says right after its start with what the book can know.
func (r *rig) checkGauges() {
	r.Helper()
	before := r.book.Record()
	gauges := r.gauges()
	after := r.book.Record()
	for _, s := range before.Sinks {
		low, high := owed(before, after, s.Name)
		if got := gauges[s.Name].Waiting; got < low || got > high {
			r.Errorf("life %d: %d wait for %s, by the book %d to %d", r.life, got, s.Name, low, high)
		}
	}
}

// owed is how much may wait for a sink at some moment between two records: at least what was acked and had not arrived
// by the later one, and at most what may have been stored and had not by the earlier one, and what a kill may repeat.
func owed(before, after *book.Record, sink string) (low, high int) {
	acked, sent := tags(before, book.Durable), tags(before, book.Uncertain)
	return len(acked) - len(bodies(after, sink, acked)), len(sent) - len(bodies(before, sink, sent)) + bounds.Repeats
}

// tags are the bodies of items with an answer that says at least so much.
func tags(rec *book.Record, least book.Answer) map[string]bool {
	found := map[string]bool{}
	for _, t := range rec.Told {
		if t.Answer >= least && t.Answer != book.Refused || t.Answer >= book.Durable {
			found[t.Body] = true
		}
	}
	return found
}

// bodies are those of a set that a sink took.
func bodies(rec *book.Record, sink string, of map[string]bool) map[string]bool {
	found := map[string]bool{}
	for _, g := range rec.Got {
		if g.Taken && g.Sink == sink && of[g.Body] {
			found[g.Body] = true
		}
	}
	return found
}

// checkBooks compares the service's own counts of the life that goes on with the receivers': what was settled is what
// they took in it, and what waited when it began is as much as the record of that moment says.
func (r *rig) checkBooks(began *book.Record) {
	r.Helper()
	rec := r.book.Record()
	for _, s := range rec.Sinks {
		took := 0
		for _, g := range rec.Got {
			if g.Taken && g.Sink == s.Name && g.Life == r.life {
				took++
			}
		}
		accepted := int(r.metric(fmt.Sprintf("holdfast_sink_accepted_total{sink=%q}", s.Name)))
		done := int(r.metric(fmt.Sprintf("holdfast_sink_settled_total{outcome=\"done\",sink=%q}", s.Name)))
		if done != took {
			r.Errorf("the service settled %d deliveries to %s, which took %d", done, s.Name, took)
		}
		if low, high := owed(began, began, s.Name); done-accepted < low || done-accepted > high {
			r.Errorf("%d waited for %s at the start, by the book %d to %d", done-accepted, s.Name, low, high)
		}
	}
}

// controls spoils copies of the record of this very run, and returns what the judge found. It has to find each.
func (r *rig) controls(v *book.Verdict) string {
	r.Helper()
	rec := r.book.Record()
	acked := rec.Told[slices.IndexFunc(rec.Told, func(t book.Told) bool { return t.Answer == book.Delivered })]
	of := func(g book.Got) bool { return g.Taken && g.Sink == "slow" && g.ID == acked.ID }
	lost, early, wrong, beyond := rec.Clone(), rec.Clone(), rec.Clone(), rec.Clone()
	lost.Got = slices.DeleteFunc(lost.Got, of)
	early.Got[slices.IndexFunc(early.Got, of)].N = math.MaxInt
	wrong.Got[slices.IndexFunc(wrong.Got, of)].Body += " "
	for _, g := range rec.Got {
		if g.Life == 0 && g.Taken {
			g.Life, g.N = 1, math.MaxInt
			beyond.Got = append(beyond.Got, g)
		}
	}
	beyond.Kills[0] = beyond.Kills[0].Add(time.Hour)
	l, e, w, b := book.Check(lost, bounds), book.Check(early, bounds), book.Check(wrong, bounds), book.Check(beyond, bounds)
	if l.Lost != v.Lost+1 || e.Early != v.Early+1 || w.Wrong != v.Wrong+1 || b.Beyond <= v.Beyond {
		r.Errorf("the judge is blind: lost %d, early %d, wrong %d, beyond %d", l.Lost, e.Early, w.Wrong, b.Beyond)
	}
	return fmt.Sprintf("failed as they must (lost %d, early %d, wrong %d, beyond the bounds %d)", l.Lost, e.Early, w.Wrong, b.Beyond)
}

// The control of the bounds: a service that never marks repeats more than a kill may cost, and the judge sees it.
func TestMarksThatAreNeverMadeAreSeen(t *testing.T) {
	r := newRig(t, &receiver{name: "fast", workers: 1})
	r.data = "mark_delay: 1h, mark_every: 1000000, min_free: 0"
	producers := four(r)[1:] // none that waits: the marks would be made for it
	for range 3 {
		r.start()
		r.live(1200*time.Millisecond, producers)
	}
	r.start()
	r.drain()
	v := book.Check(r.book.Record(), bounds)
	if v.Beyond == 0 {
		t.Errorf("%v: repeats beyond the bounds are not seen", v)
	}
	if v.Lost+v.Early+v.Wrong+v.Order > 0 {
		t.Errorf("%v %q", v, v.Details)
	}
	t.Logf("control: a service without marks failed as it must: %v", v)
}
