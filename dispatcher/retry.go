package dispatcher

import (
	"errors"
	"math"
	"time"
)

// Retry says how often and when a delivery that failed plainly is attempted again. The fields are meant as they stand:
// the zero value is one attempt and no more.
type Retry struct {
	MaxRetries int           // after the first attempt; 0: none, -1: it never gives up
	Base       time.Duration // before the first retry; it doubles with each
	Max        time.Duration // before any retry
	Jitter     float64       // 0 to 1: each wait is spread evenly over ±Jitter of itself
	MaxAge     time.Duration // an item that was accepted longer ago than this is a dead letter when its attempt fails, also by an outage; 0: never for that
}

// DefaultRetry returns the reference system's policy: 3 retries, 100 ms doubling up to 5 s, ±20 %.
func DefaultRetry() Retry {
	return Retry{MaxRetries: 3, Base: 100 * time.Millisecond, Max: 5 * time.Second, Jitter: 0.2}
}

func (r Retry) check() error {
	if r.MaxRetries < -1 || r.Base < 0 || r.Max < 0 || r.MaxAge < 0 || !(r.Jitter >= 0 && r.Jitter <= 1) {
		return errors.New("retry: max_retries is at least -1, times are not negative, jitter is from 0 to 1")
	}
	return nil
}

// exhausted reports whether a delivery that has spent this many attempts is not attempted again.
func (r Retry) exhausted(spent int) bool { return r.MaxRetries >= 0 && spent > r.MaxRetries }

// backoff returns the wait before the n-th retry, n ≥ 1, without jitter: min(Max, Base·2^(n−1)).
//
//	n              1       2       3       4       5       6       7 …
//	100 ms, 5 s    100ms   200ms   400ms   800ms   1.6s    3.2s    5s
//	1 s, 5 m       1s      2s      4s      8s      16s     32s     1m4s   2m8s   4m16s   5m
func (r Retry) backoff(n int) time.Duration {
	wait := min(r.Base, r.Max)
	for ; n > 1 && wait > 0 && wait < r.Max; n-- {
		if wait > r.Max/2 {
			return r.Max
		}
		wait *= 2
	}
	return wait
}

// after returns the wait before the n-th retry, spread by random, which is evenly from [0, 1). It is never more than
// Max·(1+Jitter).
func (r Retry) after(n int, random float64) time.Duration {
	wait := float64(r.backoff(n))
	wait += wait * r.Jitter * (2*random - 1)
	if wait >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(wait)
}
