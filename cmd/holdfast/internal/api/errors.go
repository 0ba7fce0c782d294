package api

import (
	"errors"
	"fmt"
	"net/http"
	"os"

	"holdfast/cmd/holdfast/internal/source/ndjson"
	"holdfast/queue"
	"holdfast/store"
)

// problem is what err looks like from outside. What only an operator can mend is logged here, and not told.
func (s *Server) problem(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	switch {
	case errors.Is(err, queue.ErrNotFound):
		return &Problem{Code: NotFound, Detail: "there is no such item"}
	case errors.Is(err, queue.ErrLost): // before what it is, too
		return &Problem{Code: Lost, Detail: "the item is damaged or missing, and its bytes with it; its state tells which sinks had it before"}
	case errors.Is(err, queue.ErrReleased):
		return &Problem{Code: Released, Detail: "every sink was done with the item, and it is no longer kept"}
	case errors.Is(err, queue.ErrNoSink):
		return &Problem{Code: NotFound, Detail: err.Error()}
	case errors.Is(err, queue.ErrStopping):
		return &Problem{Code: Stopping, Detail: "nothing was stored"}
	case errors.Is(err, queue.ErrUncertain):
		return uncertain()
	}
	if full, ok := errors.AsType[*queue.FullError](err); ok {
		return fullProblem(full)
	}
	if _, ok := errors.AsType[*store.FatalError](err); ok {
		return uncertain()
	}
	s.o.Log.Error("a request met an error", "err", err)
	return &Problem{Code: Internal, Detail: "the service's log has the details"}
}

func uncertain() *Problem {
	return &Problem{Code: Uncertain, Detail: "it may have been stored or not; repeat it with the same idempotency key"}
}

func fullProblem(e *queue.FullError) *Problem {
	if e.Disk {
		return &Problem{Code: DiskFull, Detail: "nothing was stored: " + e.Error()}
	}
	return &Problem{Code: Full, Detail: "nothing was stored: " + e.Error()}
}

// locate turns what the queue has against one item of a request into the problem that names where it stands.
func locate(err error, in items) error {
	if e, ok := errors.AsType[*queue.InvalidError](err); ok {
		return invalid(in.line(e.Item), in.field(e.Item, e.Field), "%s", e.Reason)
	}
	if e, ok := errors.AsType[*queue.TooLargeError](err); ok {
		return located(TooLarge, in.line(e.Item), in.field(e.Item, ""), fmt.Sprintf("%d %s, at most %d are allowed", e.Size, e.What, e.Limit))
	}
	if e, ok := errors.AsType[*queue.MismatchError](err); ok {
		return located(Mismatch, in.line(e.Item), in.field(e.Item, "idempotency_key"), fmt.Sprintf("%s was used with another body", quote(e.Key)))
	}
	return err
}

// unread is the problem of a body that did not arrive whole; what may have limit bytes.
func unread(err error, what string, limit int64) error {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(0, what, limit)
	}
	if e, ok := errors.AsType[*corruptError](err); ok {
		return e.problem()
	}
	if e, ok := errors.AsType[*ndjson.TooLongError](err); ok {
		return located(TooLarge, e.Line, "", fmt.Sprintf("a line may have %d bytes", e.Limit))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &Problem{Code: Timeout, Detail: "the body did not arrive in time; nothing was stored"}
	}
	return &Problem{Code: Malformed, Detail: "the body ended early; nothing of it was stored"}
}

func tooLarge(line int, what string, limit int64) *Problem {
	return located(TooLarge, line, "", fmt.Sprintf("%s may have %d bytes", what, limit))
}
