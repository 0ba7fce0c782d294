package dispatcher

import (
	"context"
	"fmt"
	"time"

	"holdfast/queue"
)

// pollTime is how long a sweep waits for a feed that has nothing at hand.
const pollTime = time.Millisecond

// age is how long ago the item was accepted.
func age(d *queue.Delivery, now time.Time) time.Duration {
	return now.Sub(time.UnixMilli(d.Item.Time))
}

// tooOld reports whether an item of this age is not kept when its attempt fails.
func (r Retry) tooOld(age time.Duration) bool { return r.MaxAge > 0 && age > r.MaxAge }

// bounded turns a wait for another attempt into a dead letter, if the item is too old for one.
func (r Retry) bounded(o queue.Outcome, err error, age time.Duration) queue.Outcome {
	if o.Kind != queue.Retry && o.Kind != queue.Hold || !r.tooOld(age) {
		return o
	}
	return r.tooLate(err)
}

// tooLate is what follows for an item that is too old to be kept after err.
func (r Retry) tooLate(err error) queue.Outcome {
	return queue.Outcome{Kind: queue.Bury, Err: reason(fmt.Errorf("older than max_age %v: %w", r.MaxAge, err), false)}
}

// sweep buries, without an attempt of their own, the items past max_age that are at hand while the destination has been
// down for all of max_age. It shortens wait, negative being without end, to when there may be more of them. The caller
// may take from the feed.
func (l *lane) sweep(ctx context.Context, w *worker, wait time.Duration) time.Duration {
	l.mu.Lock()
	down, since, why := l.breaker.state == open, l.breaker.since, l.symptom.err
	l.mu.Unlock()
	if l.Retry.MaxAge == 0 || !down {
		return wait
	}
	if left := l.Retry.MaxAge - time.Since(since); left > 0 {
		return sooner(wait, left)
	}
	for ctx.Err() == nil {
		w.taken = l.atHand(ctx, w.taken[:0])
		now := time.Now()
		old := 0
		for old < len(w.taken) && l.Retry.tooOld(age(&w.taken[old], now)) {
			old++
		}
		l.outlived(w.taken[:old], why, now)
		young := w.taken[old:]
		l.giveBack(young, false)
		if len(young) > 0 {
			wait = sooner(wait, l.Retry.MaxAge-age(&young[0], now))
		}
		clear(w.taken)
		if old == 0 || len(young) > 0 {
			break
		}
	}
	return sooner(wait, l.Retry.MaxAge)
}

// atHand appends what the feed has now. A fault of the feed is seen when the next probe is taken.
func (l *lane) atHand(ctx context.Context, dst []queue.Delivery) []queue.Delivery {
	ctx, cancel := context.WithTimeout(ctx, pollTime)
	defer cancel()
	dst, _ = l.Feed.Next(ctx, dst, longestRun)
	return dst
}

// outlived buries deliveries for an outage that they did not outlive.
func (l *lane) outlived(deliveries []queue.Delivery, why error, now time.Time) {
	if len(deliveries) == 0 {
		return
	}
	o := l.Retry.tooLate(why)
	o.Untried = true
	for _, d := range deliveries {
		l.report.dead(d, o, now)
	}
	l.Feed.SettleAll(deliveries, o)
}

// sooner is the shorter of a wait, which has no end if it is negative, and one that has: at least a millisecond, the
// grain of accept times.
func sooner(wait, other time.Duration) time.Duration {
	other = max(other, time.Millisecond)
	if wait < 0 {
		return other
	}
	return min(wait, other)
}
