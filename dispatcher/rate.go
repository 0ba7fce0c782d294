package dispatcher

import (
	"errors"
	"math"
	"time"

	"golang.org/x/time/rate"
)

// A Rate bounds how many items a sink is sent: no more than Burst + PerSecond·t in any time t, each attempt counting
// once for each of its items. It delays, and drops nothing; while it delays, the lane holds nothing either.
type Rate struct {
	PerSecond float64
	Burst     int // default: those of a second, at least 1. No batch is larger
}

func (r Rate) withDefaults() (Rate, error) {
	if !(r.PerSecond > 0) || math.IsInf(r.PerSecond, 1) || r.Burst < 0 {
		return r, errors.New("rate: per_second is above 0, burst is not negative")
	}
	if r.Burst == 0 {
		r.Burst = int(max(1, min(r.PerSecond, math.MaxInt32)))
	}
	return r, nil
}

// limiter returns nil where there is no limit.
func (r *Rate) limiter() *rate.Limiter {
	if r == nil {
		return nil
	}
	return rate.NewLimiter(rate.Limit(r.PerSecond), r.Burst)
}

// longestDelay bounds one sleep, not the delay: a rate may be one item in a year.
const longestDelay = time.Hour

// delayed returns how long it is at least until the rate allows n items; 0: it does now. Only who may take from the feed
// takes from the rate, so what is allowed stays so.
func (l *lane) delayed(n int) time.Duration {
	if l.limit == nil {
		return 0
	}
	missing := float64(n) - l.limit.Tokens()
	if missing <= 0 {
		return 0
	}
	return time.Duration(min(missing/l.Rate.PerSecond*float64(time.Second), float64(longestDelay)))
}

// spend takes what n items need from the rate, if it is there.
func (l *lane) spend(n int) bool { return l.limit == nil || l.limit.AllowN(time.Now(), n) }
