package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"holdfast/cmd/holdfast/internal/source/ndjson"
	"holdfast/queue"
)

// retryFull is how long a stream waits before it tries again to put a line that found the budget or the disk full.
const retryFull = 250 * time.Millisecond

// read submits the lines of the body until it ends, the client or the service goes, or a line is too long.
func (st *stream) read() {
	defer close(st.answers)
	defer st.panicked()
	mk := newMaker(&st.head, st.s.o.MaxItemBytes)
	for {
		text, err := st.lines.Next()
		if err != nil {
			st.whole = errors.Is(err, io.EOF)
			st.end(err)
			return
		}
		a := freeAnswers.Get().(*answer)
		a.line = st.lines.Line()
		if a.item[0], a.err = mk.item(text, a.line); a.err == nil {
			a.request = queue.Request{Scope: st.scope, Source: sourceStream, Items: a.item[:], Join: st.head.wait > 0}
			a.pending, a.err = st.submit(a.request)
		}
		stopping := errors.Is(a.err, queue.ErrStopping)
		if !st.send(a) { // from here on it is the writer's
			st.end(context.Cause(st.ctx))
			return
		}
		if stopping {
			return
		}
	}
}

// submit hands a line to the queue. It waits for room as long as it takes: no line is refused for that. What the queue did
// not take before the stream ended is not stored.
func (st *stream) submit(r queue.Request) (Pending, error) {
	st.vigil.begun.Add(1)
	defer st.vigil.got.Add(1)
	for {
		p, err := st.s.q.Submit(st.ctx, r)
		if errors.Is(err, queue.ErrUncertain) && st.ctx.Err() != nil {
			return nil, queue.ErrStopping
		}
		if _, full := errors.AsType[*queue.FullError](err); !full {
			return p, err
		}
		if !st.pause(retryFull) {
			return nil, queue.ErrStopping
		}
	}
}

// pause waits, and reports whether the stream still lives.
func (st *stream) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-st.ctx.Done():
		return false
	}
}

// send hands an answer to the writer, once less is under way than may be. It reports whether the writer still wants some.
// The writer takes all there are until the channel closes, so what was submitted is sent in any case.
func (st *stream) send(a *answer) bool {
	if st.head.wait > 0 {
		a.until = time.Now().Add(st.head.wait)
	}
	st.bytes.Add(a.size())
	st.answers <- a
	for st.bytes.Load() > streamBytes {
		select {
		case <-st.freed:
		case <-st.ctx.Done():
			return false
		}
	}
	return st.ctx.Err() == nil
}

func (a *answer) size() (n int64) {
	for i := range a.request.Items {
		n += int64(len(a.request.Items[i].Body))
	}
	return n
}

// end sends the last answer, if a line was begun that is not accepted any more, or can't be made out, for a reason that
// the client can hear of.
func (st *stream) end(err error) {
	if long, ok := errors.AsType[*ndjson.TooLongError](err); ok {
		detail := fmt.Sprintf("a line may have %d bytes; this one and what follows are not stored", long.Limit)
		st.answers <- &answer{line: long.Line, err: located(TooLarge, 0, "", detail)}
		return
	}
	if corrupt, ok := errors.AsType[*corruptError](err); ok {
		st.answers <- &answer{line: st.lines.Line() + 1, err: corrupt.problem()}
		return
	}
	if errors.Is(err, io.EOF) || !st.lines.Begun() {
		return
	}
	p := &Problem{Code: Malformed, Detail: "the stream broke off; this line is not stored"}
	switch {
	case errors.Is(err, errStop):
		p = &Problem{Code: Stopping, Detail: "this line and what follows are not stored"}
	case errors.Is(err, os.ErrDeadlineExceeded):
		p = &Problem{Code: Timeout, Detail: "nothing came for " + st.s.o.StreamIdle.String() + "; this line is not stored"}
	}
	st.answers <- &answer{line: st.lines.Line() + 1, err: p}
}

// panicked turns a panic into the stream's last answer: the reader has no handler around it that would.
func (st *stream) panicked() {
	if p := recover(); p != nil {
		st.s.o.Log.Error("panic while reading a stream", "line", st.lines.Line(), "err", p, "stack", stack())
		st.answers <- &answer{line: st.lines.Line(), err: &Problem{Code: Internal, Detail: "the service made a mistake; its log has the details"}}
	}
}
