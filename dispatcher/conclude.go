package dispatcher

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"holdfast/queue"
	"holdfast/sinks"
)

// attempt is one that did not simply succeed.
type attempt struct {
	deliveries []queue.Delivery
	err        error
	kind       result // if err is plain; cut if a stop came first
	probe      bool
	ended      time.Time
}

// arrived settles deliveries that the destination has.
func (l *lane) arrived(deliveries []queue.Delivery) {
	l.Feed.SettleAll(deliveries, queue.Outcome{Kind: queue.Done})
	l.delivered.Add(int64(len(deliveries)))
	l.meters.count(delivered, len(deliveries))
	if !l.calm.Load() {
		l.mu.Lock()
		l.suspects.clear(deliveries)
		l.mu.Unlock()
		l.judge(verdict{result: delivered}, time.Now())
	}
}

// giveBack returns deliveries that were not attempted. probe: the breaker's was among them, or was never found.
func (l *lane) giveBack(deliveries []queue.Delivery, probe bool) {
	for _, d := range deliveries {
		l.Feed.Return(d)
	}
	if !probe {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.breaker.withdrawn()
	l.settled()
}

// conclude settles an attempt that failed, in whole or in part.
func (l *lane) conclude(a attempt) {
	if a.kind == cut {
		l.meters.count(cut, len(a.deliveries))
		l.giveBack(a.deliveries, a.probe)
		return
	}
	each := split(a.err, len(a.deliveries))
	if each != nil {
		if each = l.setAside(&a, each); len(each) == 0 {
			return
		}
	}
	v := a.verdict(each)
	if each == nil && len(a.deliveries) > 1 && (v.plain() || v.result == permanent) {
		l.halve(a.deliveries, a.err)
		l.giveBack(a.deliveries, a.probe)
		return
	}
	if e, ok := errors.AsType[*panicError](a.err); ok {
		l.report.panicked(e)
	}
	if v.result == gone && (l.Pause == nil || l.pauseFailed()) {
		v.result = unavailable
	}
	l.settle(a, each, l.judge(v, a.ended))
}

// halve notes of a batch that failed without saying which item it was that it is to be attempted in smaller ones, until
// single items answer for themselves.
func (l *lane) halve(deliveries []queue.Delivery, err error) {
	l.mu.Lock()
	l.suspects.halve(deliveries)
	l.settled()
	l.mu.Unlock()
	l.report.halved(len(deliveries), err)
}

// setAside takes from a batch what the sink said nothing of, and returns it: groups that failed without saying which item
// it was, and what was not tried for that. It returns the errors of what is left, none if nothing is.
func (l *lane) setAside(a *attempt, each []error) []error {
	var rest, aside []queue.Delivery
	var said []error
	tried := false
	for i, n := 0, 0; i < len(each); i += n {
		n = together(each[i:])
		group, untried := a.deliveries[i:i+n], errors.Is(each[i], sinks.ErrUntried)
		tried = tried || !untried
		switch {
		case untried:
			aside = append(aside, group...)
		case n > 1:
			l.halve(group, each[i])
			aside = append(aside, group...)
		default:
			rest, said = append(rest, group...), append(said, each[i])
		}
	}
	if len(aside) == 0 || !tried { // of what was not tried at all the error stands
		return each
	}
	l.giveBack(aside, a.probe && len(rest) == 0)
	a.deliveries = rest
	return said
}

// together returns how many of the errors, from the first, are one that its items share.
func together(each []error) int {
	n := 1
	if first, ok := errors.AsType[*sinks.SharedError](each[0]); ok {
		for n < len(each) && each[n] == error(first) {
			n++
		}
	}
	return n
}

func (l *lane) pauseFailed() bool {
	err := l.shift.pause()
	if err != nil {
		l.report.notPaused(err)
	}
	return err != nil
}

// verdict is what an attempt as a whole says of the destination.
type verdict struct {
	result
	after time.Duration
	id    uuid.UUID // of the first item that failed
	err   error     // its error
	probe bool
}

// verdict returns the worst that was said of the destination: gone, unavailable, or that it answered; a plain failure
// only where nothing else was said.
func (a *attempt) verdict(each []error) verdict {
	v := verdict{id: a.deliveries[0].ID, err: a.err, probe: a.probe}
	if each == nil {
		v.result, v.after = classify(a.err, a.kind)
		return v
	}
	v.err = nil
	answered := false
	for i, err := range each {
		res, after := classify(err, a.kind)
		if err != nil && (v.err == nil || res > v.result) {
			v.result, v.after, v.id, v.err = res, after, a.deliveries[i].ID, err
		}
		answered = answered || err == nil || res == permanent
	}
	if answered && v.plain() {
		v.result = delivered
	}
	return v
}

// judge tells the breaker, and notes what became of the lane.
func (l *lane) judge(v verdict, now time.Time) ruling {
	l.mu.Lock()
	before, wasPaused := l.breaker.state, l.paused
	spent := true
	switch {
	case v.result == unavailable:
		l.breaker.unavailable(now, v.after, v.probe)
	case v.plain():
		spent = l.breaker.failed(now, v.id, v.probe)
	default:
		l.breaker.answered()
		l.paused = v.result == gone
		l.retryAt = time.Time{}
	}
	after := l.breaker.state
	if after != closed && v.err != nil {
		l.symptom = symptom{id: v.id, err: v.err}
	}
	l.symptom.due = l.breaker.until
	pauses := l.paused && !wasPaused
	if (before == closed) != (after == closed) || pauses {
		l.changes++
	}
	change, why := l.changes, l.symptom
	rule := ruling{spent: spent, delay: l.breaker.delay(now), paused: l.paused}
	l.settled()
	l.mu.Unlock()
	switch {
	case pauses:
		l.report.paused(change, v.err)
	case after != closed:
		l.report.outage.isDown(change, why, now)
	case before != closed:
		l.report.outage.isUp(change, now)
	}
	return rule
}

// settle hands back what the attempt means for each of its deliveries.
func (l *lane) settle(a attempt, each []error, rule ruling) {
	for i, d := range a.deliveries {
		err := a.err
		if each != nil {
			err = each[i]
		}
		res, _ := classify(err, a.kind)
		o := l.Retry.decide(res, err, d.Attempts, rule, rand.Float64())
		if !rule.paused {
			o = l.Retry.bounded(o, err, age(&d, a.ended))
		}
		l.note(res, d, o, a.ended)
		l.Feed.Settle(d, o)
	}
}

// note keeps the books of one delivery's outcome.
func (l *lane) note(res result, d queue.Delivery, o queue.Outcome, now time.Time) {
	l.meters.count(res, 1)
	switch o.Kind {
	case queue.Done:
		l.delivered.Add(1)
	case queue.Retry:
		l.meters.retries.Inc()
		l.report.retried(d, o)
	case queue.Bury:
		l.report.dead(d, o, now)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if o.Kind != queue.Done {
		l.lastError, l.lastFailure = o.Err, now
	}
	if o.Kind == queue.Retry {
		l.retryAt = now.Add(o.After)
	}
	if o.Kind == queue.Done || o.Kind == queue.Bury {
		delete(l.suspects, d.ID)
	}
	l.settled()
}

// abandon leaves an attempt behind that ignores its deadline, or a stop.
func (l *lane) abandon(w *worker) {
	w.watch.Stop()
	l.meters.abandoned.Inc()
	l.mu.Lock()
	l.hanging++
	l.settled()
	n := l.hanging
	l.mu.Unlock()
	if n == l.mayHang && !l.shift.cut() {
		l.report.holds(n, time.Now())
	}
	l.takeOver(w, errHangs, abandoned)
}

// abandonAll leaves behind what goes on a while after a stop has cut it short.
func (l *lane) abandonAll() {
	select {
	case <-l.ended:
		return
	case <-time.After(l.grace):
	}
	l.mu.Lock()
	var stuck []*worker
	for w := range l.workers {
		if w.phase.CompareAndSwap(trying, lost) {
			stuck = append(stuck, w)
		}
	}
	l.mu.Unlock()
	if len(stuck) > 0 {
		l.report.leftBehind(len(stuck))
	}
	for _, w := range stuck {
		l.abandon(w)
	}
	<-l.ended
}

// takeOver does what a lost worker cannot: it settles the attempt, returns the rest of the run, and has the place taken
// by another.
func (l *lane) takeOver(w *worker, err error, kind result) {
	if l.shift.cut() {
		kind = cut
	}
	l.inFlight.Add(int64(w.at - w.end))
	l.conclude(attempt{deliveries: w.taken[w.at:w.end], err: err, kind: kind, probe: w.probe, ended: time.Now()})
	l.giveBack(w.taken[w.end:], false)
	l.replace(w)
}
