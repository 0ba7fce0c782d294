package sinks

import (
	"bytes"
	"errors"
)

// Groups cuts the items, in order, into groups for InTurn: one for each item or, with lines, one for neighbours of which a
// reader of lines gets the bodies back. Many such readers skip empty lines and cut a CR at the end.
func Groups(items []Item, lines bool) [][]Item {
	var groups [][]Item
	for len(items) > 0 {
		n := 1
		if lines && IsLine(items[0].Body) {
			for n < len(items) && IsLine(items[n].Body) {
				n++
			}
		}
		groups = append(groups, items[:n])
		items = items[n:]
	}
	return groups
}

// IsLine says whether a reader of lines gets the body back from the body and an LF.
func IsLine(body []byte) bool {
	return len(body) > 0 && bytes.IndexByte(body, '\n') < 0 && body[len(body)-1] != '\r'
}

// InTurn delivers the groups one after the other, for a sink that needs several requests for one Deliver. It makes the next
// only after the one before was taken or refused for good; the items that were not tried get the error untried, which
// wraps ErrUntried. It returns nil, the error of an only group as it is, or a BatchError for all items in order, in which
// a plain error of several items is a SharedError.
func InTurn(groups [][]Item, deliver func([]Item) error, untried error) error {
	if len(groups) == 1 {
		return deliver(groups[0])
	}
	var errs []error
	failed, stopped := false, false
	for _, group := range groups {
		err := untried
		if !stopped {
			err = deliver(group)
		}
		if err != nil && len(group) > 1 && !hasVerdict(err) {
			err = &SharedError{err}
		}
		for range group {
			errs = append(errs, err)
		}
		failed = failed || err != nil
		stopped = stopped || err != nil && !isFinal(err)
	}
	if !failed {
		return nil
	}
	return &BatchError{Errs: errs}
}

func hasVerdict(err error) bool {
	_, ok := errors.AsType[*Error](err)
	return ok
}

func isFinal(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Verdict == PermanentVerdict
}
