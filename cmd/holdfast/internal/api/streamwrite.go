package api

import (
	"cmp"
	"context"
	"errors"
	"strconv"

	"holdfast/queue"
)

// streamBuffer is how much of the answers is gathered before it is written.
const streamBuffer = 32 << 10

// write answers the lines in their order until the reader has ended. What is ready is gathered, and sent when nothing
// further is: a group commit's answers share a packet. After a write failed it only takes what the reader sends, so that
// neither waits for the other.
func (st *stream) write() {
	for {
		a, ok := st.next()
		if !ok {
			st.flush()
			return
		}
		if st.err != nil {
			st.discard(a)
		} else {
			st.answer(a)
		}
		st.done(a)
		if len(st.out) >= streamBuffer {
			st.flush()
		}
	}
}

// next takes an answer, and flushes before it has to wait for one.
func (st *stream) next() (*answer, bool) {
	select {
	case a, ok := <-st.answers:
		return a, ok
	default:
	}
	st.flush()
	a, ok := <-st.answers
	return a, ok
}

// done gives back the room that a line took, and its answer.
func (st *stream) done(a *answer) {
	st.bytes.Add(-a.size())
	if !st.uncertain {
		st.final.Store(int64(a.line))
	}
	if a.pending != nil {
		a.pending.Release()
	}
	*a = answer{}
	freeAnswers.Put(a)
	select {
	case st.freed <- struct{}{}:
	default:
	}
}

// answer appends the line's answer: {"line":n,"receipt":{…}}, {"line":n,"item":{…}} for a producer that waits for the
// sinks, or {"line":n,"problem":{…}}.
func (st *stream) answer(a *answer) {
	accepted, err := st.outcome(a)
	st.uncertain = st.uncertain || errors.Is(err, queue.ErrUncertain)
	var state itemState
	if err == nil && accepted.Join != nil {
		state, err = st.joined(a, accepted)
	}
	st.out = append(st.out, `{"line":`...)
	st.out = strconv.AppendInt(st.out, int64(a.line), 10)
	switch {
	case err != nil:
		p := st.s.problem(locate(err, items{}))
		st.s.metrics.reject(sourceStream, p)
		st.out = append(append(st.out, `,"problem":`...), encode(p)...)
	case accepted.Join != nil:
		st.out = append(append(st.out, `,"item":`...), encode(state)...)
	default:
		st.out = appendReceipt(append(st.out, `,"receipt":`...), &accepted.Receipts[0])
	}
	st.out = append(st.out, "}\n"...)
}

// outcome waits for what becomes of a line. A disk that was full when the line should have been stored is want of room
// like any other: the line is submitted again until there is some.
func (st *stream) outcome(a *answer) (Accepted, error) {
	for a.err == nil {
		accepted, err := st.settled(a.pending)
		if _, full := errors.AsType[*queue.FullError](err); !full {
			return accepted, err
		}
		st.flush()
		a.pending, a.err = st.submit(a.request)
	}
	return Accepted{}, a.err
}

// settled waits for one pending request, and flushes first if it is not ready. One with a Join is not asked whether it
// is: a Wait in vain is its end.
func (st *stream) settled(p Pending) (Accepted, error) {
	if st.head.wait == 0 {
		accepted, err := p.Wait(st.ended)
		if !errors.Is(err, queue.ErrUncertain) {
			return accepted, err
		}
	}
	st.flush()
	return p.Wait(st.conn.patient(st.s.o.AcceptTimeout))
}

// joined waits until every sink has the line's item, but not beyond what the producer asked for, and returns how far it
// is then. The time counts from when the line was submitted: lines in front do not add theirs.
func (st *stream) joined(a *answer, accepted Accepted) (itemState, error) {
	defer accepted.Join.Close()
	err := accepted.Join.Wait(st.ended)
	if err != nil {
		st.flush()
		ctx, cancel := context.WithDeadline(st.ctx, a.until)
		err = accepted.Join.Wait(ctx)
		cancel()
	}
	state, failed := st.s.stateOf(&accepted.Receipts[0])
	if err != nil {
		state.State = statePending // it may be ahead of the disk
	}
	return state, failed
}

// discard ends the wait for a line that nobody wants to hear of. What was submitted is stored all the same.
func (st *stream) discard(a *answer) {
	st.uncertain = true
	if a.pending == nil || st.head.wait == 0 {
		return
	}
	if accepted, err := a.pending.Wait(st.conn.patient(st.s.o.AcceptTimeout)); err == nil && accepted.Join != nil {
		accepted.Join.Close()
	}
}

// flush sends what is gathered, in one packet if it may be.
func (st *stream) flush() {
	if st.err != nil || len(st.out) == 0 {
		return
	}
	st.writable.extend()
	if st.ctx.Err() != nil { // after the deadline, which else would undo the shorter one
		within(lastWords, st.rc.SetWriteDeadline)
	}
	st.conn.place.gather()
	_, err := st.w.Write(st.out)
	if err == nil {
		err = st.rc.Flush()
	}
	st.out = st.out[:0]
	st.failed(cmp.Or(err, st.conn.place.send()))
}

// failed notes that the answers cannot be sent, and so ends the reading.
func (st *stream) failed(err error) {
	if err != nil && st.err == nil {
		st.err = err
		st.cancel()
	}
}
