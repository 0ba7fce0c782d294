package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"holdfast/cmd/holdfast/internal/client"
)

// sendLines pipelines all inputs over one stream. Three goroutines at most:
// this one reads answers; feed reads inputs and sends; and a third one watches
// that answers come, and after ctx is done stops feed.
func (p *putJob) sendLines(ctx context.Context) error {
	s, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close(client.ErrStreamClosed)
	if p.inputs[0] == "-" && p.Terminal(p.In) {
		p.notice("each line that you type is an item; Ctrl-D ends")
	}
	fed := make(chan error, 1)
	go func() { fed <- p.feed(s) }() // left behind in a read of standard input if the stream ends first
	w := &watch{putJob: p, stream: s, over: make(chan struct{})}
	watched := make(chan struct{})
	go func() { defer close(watched); w.run(ctx) }()
	err = p.receive(s, w)
	close(w.over)
	<-watched
	p.meter.finish()
	switch {
	case err != nil:
		return p.cutOff(ctx, err, w.stalled)
	case p.tally.turned > 0:
		return p.cutOff(ctx, &client.BrokenError{Server: p.client.Server(), Ended: true}, false)
	case ctx.Err() != nil:
		p.tally.summary(p)
		return fmt.Errorf("interrupted: the rest was not sent; %s", p.again(0))
	}
	p.tally.summary(p)
	if err := <-fed; err != nil {
		return err
	}
	return p.verdict("lines")
}

// open makes the stream. ctx can interrupt that, but not the stream: it is
// ended in good order.
func (p *putJob) open(ctx context.Context) (*client.Stream, error) {
	opts := client.StreamOptions{Meta: p.meta, Wait: p.wait, Envelopes: p.envelopes()}
	life, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	opened := context.AfterFunc(ctx, func() { cancel(errInterrupted) })
	s, err := p.client.OpenStream(life, opts)
	if !opened() {
		if err == nil {
			s.Close(errInterrupted)
		}
		return nil, errors.New("interrupted: nothing was sent")
	}
	if err != nil {
		cancel(err)
	}
	return s, err
}

// envelopes says whether lines need more than their bytes and one set of
// headers: a key of their own, or a value that no header can hold.
func (p *putJob) envelopes() bool { return p.key != "" || !p.meta.HeaderSafe() }

// feed sends every line and then closes the stream for sending, whatever happens.
func (p *putJob) feed(s *client.Stream) error {
	defer s.CloseSend()
	encoder, err := client.NewEnvelopeEncoder(p.meta)
	if err != nil {
		return err
	}
	f := feeder{p: p, s: s}
	if p.envelopes() {
		f.encoder = encoder
	}
	for _, path := range p.inputs {
		if err := f.input(path); err != nil {
			return err
		}
	}
	return nil
}

// feeder is the sending half of put.
type feeder struct {
	p       *putJob
	s       *client.Stream
	encoder *client.EnvelopeEncoder // nil: lines go as they are
	number  int                     // lines read so far, over all inputs, empty ones too
	buf     []byte
}

func (f *feeder) input(path string) error {
	in := f.p.In
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return &ExitError{Code: ExitIO, Err: err}
		}
		defer file.Close()
		in = file
	}
	r := bufio.NewReaderSize(in, 64<<10)
	for n := 1; ; n++ {
		line, err := client.ReadLine(r, maxPut)
		from := client.Origin{Name: path, Line: n, Size: len(line) + 1}
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, client.ErrLineTooLong):
			return fmt.Errorf("%s: longer than %s; it and what follows were not sent", where(from), size(maxPut))
		case err != nil:
			return &ExitError{Code: ExitIO, Err: fmt.Errorf("%s: %w; what follows was not sent", where(from), err)}
		}
		f.number++
		if len(line) > 0 {
			if err := f.send(from, line); err != nil {
				return err
			}
		}
		if !lineBuffered(r) {
			if err := f.s.Flush(); err != nil {
				return err
			}
		}
	}
}

func (f *feeder) send(from client.Origin, line []byte) error {
	if f.encoder == nil {
		return f.s.Send(from, line)
	}
	key := ""
	if f.p.key != "" {
		key = f.p.key + "-" + strconv.Itoa(f.number)
	}
	var err error
	if f.buf, err = f.encoder.Append(f.buf[:0], line, key); err != nil {
		return err
	}
	return f.s.Send(from, f.buf)
}

// lineBuffered says whether the next line can be had without waiting for the
// input: before a wait, what was gathered must go out.
func lineBuffered(r *bufio.Reader) bool {
	b, _ := r.Peek(r.Buffered())
	for _, c := range b {
		if c == '\n' {
			return true
		}
	}
	return false
}

// receive takes answers until the stream ends; nil means in good order.
func (p *putJob) receive(s *client.Stream, w *watch) error {
	for {
		answer, err := s.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		w.answers.Add(1)
		if err := p.tally.add(p, answer); err != nil {
			return err
		}
	}
}
