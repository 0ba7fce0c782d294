package dispatcher

import (
	"slices"
	"time"

	"github.com/google/uuid"
)

// maxRetryAfter is how far a destination may put off its next probe.
const maxRetryAfter = time.Hour

// A Breaker says when a destination counts as down, and how often it is tried then. The zero value is the default.
type Breaker struct {
	Failures   int           // different items that fail plainly in a row, default 5; negative: only an Unavailable opens it
	ProbeEvery time.Duration // default 5s
}

func (b Breaker) withDefaults() Breaker {
	if b.Failures == 0 {
		b.Failures = 5
	}
	if b.ProbeEvery <= 0 {
		b.ProbeEvery = 5 * time.Second
	}
	return b
}

type breakerState uint8

const (
	closed  breakerState = iota // deliveries pass
	open                        // none passes until the next probe is due
	probing                     // one is out, and its result decides
)

// breaker is the state machine of one lane, without a clock: it is told the time.
//
//	         unavailable, or Failures different
//	         items failed plainly in a row
//	closed ───────────────────────────────────────▶ open ◀─────────────────────┐
//	  ▲  ▲                                           │ │                        │ the probe: unavailable,
//	  │  └───────────────────────────────────────────┘ │ until is over:         │ failed plainly if failures
//	  │    answered: an attempt from before it opened  │ one passes             │ opened it, withdrawn
//	  │                                                ▼                        │
//	  └───────────────────────────────────────────── probing ───────────────────┘
//	    answered: the probe was delivered, or refused for good;
//	    or it failed plainly, and an outage had opened it
//
// While it is not closed no plain failure is spent, but that last one.
type breaker struct {
	Breaker
	state  breakerState
	outage bool        // while not closed: an Unavailable opened it
	row    []uuid.UUID // while closed: the different items that failed since the last answer
	since  time.Time   // while not closed: when it opened
	until  time.Time   // while not closed: no probe before this
}

// calm reports whether an answer would change nothing.
func (b *breaker) calm() bool { return b.state == closed && len(b.row) == 0 }

// ask returns wait 0 where a delivery may pass, which is the probe if probe is set: its result must be told. Else it
// returns how long to wait before the next question, negative for "until something was told".
func (b *breaker) ask(now time.Time) (probe bool, wait time.Duration) {
	switch {
	case b.state == closed:
		return false, 0
	case b.state == probing:
		return false, -1
	case now.Before(b.until):
		return false, b.until.Sub(now)
	}
	b.state = probing
	return true, 0
}

// answered is told of a delivery that arrived or was refused for good: the destination is there.
func (b *breaker) answered() { b.state, b.row = closed, b.row[:0] }

// unavailable is told of an attempt that found the destination down. after is what it asked for, 0 for nothing.
func (b *breaker) unavailable(now time.Time, after time.Duration, probe bool) {
	if after <= 0 {
		after = b.ProbeEvery
	}
	until := now.Add(min(after, maxRetryAfter))
	switch {
	case b.state == closed:
		b.since, b.until = now, until
	case b.state == probing && !probe:
		return // the probe knows more
	case probe || until.After(b.until):
		b.until = until
	}
	b.state, b.outage, b.row = open, true, b.row[:0]
}

// failed is told of a plain failure, and reports whether the attempt is spent.
func (b *breaker) failed(now time.Time, id uuid.UUID, probe bool) (spent bool) {
	if b.state != closed {
		if !probe {
			return false
		}
		if !b.outage {
			b.state, b.until = open, now.Add(b.ProbeEvery)
			return false
		}
		b.answered()
	}
	if b.Failures < 0 {
		return true
	}
	if !slices.Contains(b.row, id) {
		b.row = append(b.row, id)
	}
	if len(b.row) < b.Failures {
		return true
	}
	b.state, b.outage, b.row = open, false, b.row[:0]
	b.since, b.until = now, now.Add(b.ProbeEvery)
	return false
}

// withdrawn is told that the probe has no result: another may be made at once.
func (b *breaker) withdrawn() {
	if b.state == probing {
		b.state = open
	}
}

// delay returns how long what is held now has to wait.
func (b *breaker) delay(now time.Time) time.Duration {
	if b.state == closed {
		return 0
	}
	return max(b.until.Sub(now), 0)
}
