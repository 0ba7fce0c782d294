package dispatcher

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"holdfast/queue"
	"holdfast/sinks"
)

// A result is what one attempt came to. Its names are the metric's label.
type result uint8

const (
	delivered   result = iota
	failed             // a plain error
	timedOut           // a plain error after the deadline
	panicked           // the sink panicked, or ended its goroutine
	abandoned          // it ignored its context
	permanent          // never will
	unavailable        // the destination is down
	gone               // the destination is gone for good
	cut                // a stop came first
	results            // how many there are
)

var resultNames = [results]string{"delivered", "failed", "timeout", "panic", "abandoned", "permanent", "unavailable", "gone", "cut"}

// plain reports whether the result is held against the item, as long as the breaker is closed.
func (r result) plain() bool {
	return r == failed || r == timedOut || r == panicked || r == abandoned
}

// classify returns what an error of Deliver means. plain is the kind of plain failure, where it is one.
func classify(err error, plain result) (r result, after time.Duration) {
	if err == nil {
		return delivered, 0
	}
	e, ok := errors.AsType[*sinks.Error](err)
	if !ok {
		return plain, 0
	}
	switch e.Verdict {
	case sinks.PermanentVerdict:
		return permanent, 0
	case sinks.UnavailableVerdict:
		return unavailable, e.After
	case sinks.GoneVerdict:
		return gone, 0
	}
	return plain, 0
}

// plainKind tells what a plain error of an attempt under ctx is.
func plainKind(ctx context.Context, err error) result {
	if _, ok := errors.AsType[*panicError](err); ok {
		return panicked
	}
	if ctx.Err() == context.DeadlineExceeded {
		return timedOut
	}
	return failed
}

// split returns each item's own error, or nil where the sink spoke of all n items as one.
func split(err error, n int) []error {
	if _, whole := errors.AsType[*sinks.Error](err); whole {
		return nil
	}
	if e, ok := errors.AsType[*sinks.BatchError](err); ok && len(e.Errs) == n {
		return e.Errs
	}
	return nil
}

// A ruling is what the breaker said of an attempt.
type ruling struct {
	spent  bool          // plain failures count against their items
	paused bool          // the sink is: nothing is too old to be kept
	delay  time.Duration // what is held comes again after this
}

// decide returns what follows a result for one delivery that had spent this many attempts before. random spreads the
// wait: evenly from [0, 1).
func (r Retry) decide(res result, err error, spent int, rule ruling, random float64) queue.Outcome {
	switch {
	case res == delivered:
		return queue.Outcome{Kind: queue.Done}
	case res == permanent:
		return queue.Outcome{Kind: queue.Bury, Err: reason(err, true), Permanent: true}
	case !res.plain() || !rule.spent:
		return queue.Outcome{Kind: queue.Hold, After: rule.delay, Err: reason(err, false)}
	case r.exhausted(spent + 1):
		return queue.Outcome{Kind: queue.Bury, Err: reason(err, false)}
	}
	return queue.Outcome{Kind: queue.Retry, After: r.after(spent+1, random), Err: reason(err, false)}
}

// maxReason bounds the text that is kept of an error, in bytes.
const maxReason = 1024

// reason composes the text that is kept of an error (guarantee D2): valid UTF-8 of at most maxReason bytes.
func reason(err error, permanent bool) string {
	prefix := "delivery failed: "
	if permanent {
		prefix += "permanent: "
	}
	text := prefix + strings.ToValidUTF8(err.Error(), "\uFFFD")
	if len(text) <= maxReason {
		return text
	}
	end := maxReason - len("…")
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}
