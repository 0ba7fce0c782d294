package sinks

import (
	"errors"
	"fmt"
	"time"
)

// A Verdict is what an error of a sink says of the item or of the destination. A plain error has none: this try
// failed, and another may not.
type Verdict int

// The verdicts.
const (
	PermanentVerdict   Verdict = iota + 1 // the item never will be taken: dead letter now
	UnavailableVerdict                    // the destination is down, not the item: hold, attempts are not spent
	GoneVerdict                           // the destination is gone for good: pause the sink, keep the item
)

// An Error is a failure with a verdict. errors.As finds it through wrapping.
type Error struct {
	Verdict Verdict
	After   time.Duration // with UnavailableVerdict: not before this much from now; 0 where the destination did not say
	Err     error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Permanent marks err as final for the item: exactly one attempt, then a dead letter. A nil err stays nil.
func Permanent(err error) error { return verdict(PermanentVerdict, 0, err) }

// Unavailable marks err as the destination's: the sink holds, and the attempt is not spent. A nil err stays nil.
func Unavailable(err error) error { return verdict(UnavailableVerdict, 0, err) }

// RetryAfter is Unavailable from a destination that said when to come back. A nil err stays nil.
func RetryAfter(d time.Duration, err error) error { return verdict(UnavailableVerdict, d, err) }

// Gone marks err as the end of the destination: the sink is paused until an operator resumes it, and keeps the item.
// A nil err stays nil.
func Gone(err error) error { return verdict(GoneVerdict, 0, err) }

func verdict(v Verdict, after time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Verdict: v, After: after, Err: err}
}

// ErrUntried is why an item of a batch was not tried. Wrapped in a BatchError beside the error that stopped the sink, it
// says nothing of the item or the destination: the item goes back to its queue.
var ErrUntried = errors.New("not tried, as the item before it failed")

// A SharedError is, in a BatchError, what several items came to that went together, where nobody knows which of them it
// was. Neighbours that have the same *SharedError went together; they are tried again in smaller groups until single
// items answer for themselves, so that a poison item costs the others no attempt.
type SharedError struct{ Err error }

func (e *SharedError) Error() string { return e.Err.Error() }
func (e *SharedError) Unwrap() error { return e.Err }

// A BatchError is a batch's partial result: Errs[i] is the verdict on items[i], nil where the destination has it.
type BatchError struct {
	Errs []error // as long as the batch
}

func (e *BatchError) Error() string {
	n, first := 0, error(nil)
	for _, err := range e.Errs {
		if err != nil {
			if n++; first == nil {
				first = err
			}
		}
	}
	return fmt.Sprintf("%d of %d items failed, the first: %v", n, len(e.Errs), first)
}
