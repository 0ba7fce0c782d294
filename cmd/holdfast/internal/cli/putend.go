package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"holdfast/cmd/holdfast/internal/client"
)

// cutOff explains a stream that ended early: what is safe, and what to do.
// stalled says that the server took nothing when ctx ended.
func (p *putJob) cutOff(ctx context.Context, err error, stalled bool) error {
	b, ok := errors.AsType[*client.BrokenError](err)
	t := &p.tally
	if !ok {
		t.summary(p)
		return err
	}
	refused := count(int64(t.refused))
	if b.Ended { // it has answered all that it took
		if t.overLong {
			return p.cutShort()
		}
		return fmt.Errorf("%w after %s durable; %s refused, %s not stored, %s without a clear answer\n  %s",
			b, were(t.durable()), refused, count(int64(t.turned+b.Pending)), count(int64(t.unsure)), p.again(0))
	}
	unknown := count(int64(b.Pending + t.unsure))
	if ctx.Err() == nil {
		return fmt.Errorf("%w after %s durable; %s refused, %s more sent without an answer\n  %s",
			b, were(t.durable()), refused, unknown, p.again(b.Pending))
	}
	err = fmt.Errorf("interrupted: %s acknowledged as durable, %s refused, %s more sent without an answer\n  %s",
		lines(t.durable()), refused, unknown, p.again(b.Pending))
	if stalled || t.durable() == 0 && b.Pending > 0 {
		return &ExitError{Code: ExitTemporary, Err: err}
	}
	return err
}

// cutShort explains a stream that the server ended over a line that is too
// long: it has stored what is before that, and nothing else.
func (p *putJob) cutShort() error {
	at := where(p.tally.last)
	text := fmt.Sprintf("%s is too long: neither it nor what follows is stored; %s durable, %s refused",
		at, were(p.tally.durable()), count(int64(p.tally.refused)))
	if p.key != "" {
		return fmt.Errorf("%s\n  shorten it or leave it empty (the keys count lines), and send the whole input again with --idempotency-key %s", text, p.key)
	}
	return fmt.Errorf("%s\n  shorten it or leave it out, and send again from %s on", text, at)
}

// again says how to send the rest, when pending lines have no answer.
func (p *putJob) again(pending int) string {
	if p.key != "" {
		return "sending the same input again with --idempotency-key " + p.key + " is safe: what arrived is not stored twice"
	}
	text := "nothing was acknowledged: send it all again"
	if last := p.tally.last; last.Name != "" {
		text = "send again what follows " + where(last)
	}
	if twice := pending + p.tally.repeats; twice > 0 {
		text += fmt.Sprintf("; up to %s may then arrive twice", lines(twice))
	}
	return text + " (with --idempotency-key, sending the whole input again is always safe)"
}

// verdict is the error of a put whose every line or file was answered.
func (p *putJob) verdict(things string) error {
	t := &p.tally
	all := count(int64(t.refused+t.unsure+t.durable())) + " " + things
	switch {
	case t.refused > 0:
		return fmt.Errorf("%s of %s were refused", count(int64(t.refused)), all)
	case t.unsure > 0:
		err := fmt.Errorf("the server cannot tell whether %s of %s are stored; %s", count(int64(t.unsure)), all, p.again(0))
		return &ExitError{Code: ExitTemporary, Err: err}
	case t.failed > 0:
		return fmt.Errorf("%s of %s did not reach every sink; `holdfast item get ID` shows why", count(int64(t.failed)), all)
	case t.pending > 0:
		err := fmt.Errorf("%s of %s are still on their way to a sink; they are stored and will be delivered", count(int64(t.pending)), all)
		return &ExitError{Code: ExitTemporary, Err: err}
	}
	return nil
}

func lines(n int) string { return plural(n, "line") }

func were(n int) string {
	if n == 1 {
		return "1 line was"
	}
	return lines(n) + " were"
}

// where names a line for people, as in orders.ndjson:14.
func where(o client.Origin) string {
	name := o.Name
	if name == "-" {
		name = "standard input"
	}
	if o.Line == 0 {
		return name
	}
	return name + ":" + strconv.Itoa(o.Line)
}
