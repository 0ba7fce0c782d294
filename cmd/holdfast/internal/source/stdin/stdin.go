// Package stdin is standard input as a source: each line is an item, byte for byte and without its LF; its content type
// is application/json if it parses, else text/plain.
//
// Lines are put in their order, many under way at once, and a queue without room holds the reading: nothing is refused
// for that and nothing is dropped. When Run returns nil every line that was read is durable. It uses two goroutines beside
// its caller's. They end with it, but for a read of the input that hangs: such a read cannot be ended.
package stdin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"holdfast/cmd/holdfast/internal/source/ndjson"
	"holdfast/queue"
	"holdfast/store"
)

// A Queue is what the source needs of package queue.
type Queue interface {
	Submit(ctx context.Context, r queue.Request) (Pending, error)
}

// A Pending is a line on its way to the log.
type Pending interface {
	Wait(ctx context.Context) (queue.Accepted, error)
}

// Over is the Queue that q is.
func Over(q *queue.Queues) Queue { return over{q} }

type over struct{ *queue.Queues }

func (o over) Submit(ctx context.Context, r queue.Request) (Pending, error) {
	p, err := o.Queues.Submit(ctx, r)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Options are what Run takes beside the queue. The zero value is production.
type Options struct {
	MaxItemBytes int64 // of a line; default 1 MiB
	Window       int   // lines that may be under way; default 1,024
}

// Counts are what became of the lines.
type Counts struct {
	Items int64 // durable
	Bytes int64 // of their bodies
}

// Run puts the lines of r until its end, and returns when all of them are durable. When ctx ends it takes what was read
// by then, if there is room for it at once, and waits for that. Errors: ctx's; one that names the line that is too long;
// what the queue has against a line. Lines before that one are durable, and counted; those after it are not put.
func Run(ctx context.Context, r io.Reader, q Queue, o Options) (Counts, error) {
	o.MaxItemBytes, o.Window = cmp.Or(o.MaxItemBytes, 1<<20), cmp.Or(o.Window, 1024)
	ctx, stop := context.WithCancel(ctx)
	in, done := newPump(ctx), make(chan struct{})
	s := &source{q: q, lines: ndjson.NewReader(in, int(o.MaxItemBytes)), sent: make(chan sent, o.Window)}
	go in.run(r, done)
	defer close(done)
	var reader sync.WaitGroup
	reader.Go(func() { s.read(ctx) })
	defer reader.Wait()
	defer stop()
	return s.receive(ctx, stop)
}

// A source is one run.
type source struct {
	q     Queue
	lines *ndjson.Reader // the reader's
	sent  chan sent      // the reader closes it
}

// A sent is a line that was submitted, or, with an error, the end of the reading.
type sent struct {
	line    int
	request queue.Request
	pending Pending
	err     error
}

// read submits lines until the input ends or one cannot be.
func (s *source) read(ctx context.Context) {
	defer close(s.sent)
	kinds := map[string]store.Attrs{}
	for _, ct := range []string{"application/json", "text/plain"} {
		kinds[ct] = store.MakeAttrs(map[string]string{"content-type": ct})
	}
	for {
		text, err := s.lines.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		out := sent{line: s.lines.Line(), err: err}
		if err == nil {
			it := queue.Item{Attrs: kinds[ndjson.ContentType(text)], Body: text}
			out.request = queue.Request{Scope: "stdin", Source: "stdin", Items: []queue.Item{it}}
			out.pending, out.err = submit(ctx, s.q, out.request)
		}
		s.sent <- out // receive takes all there are
		if out.err != nil {
			return
		}
	}
}

// retryFull is how long a line waits before it is tried again when the budget or the disk is full.
const retryFull = 250 * time.Millisecond

// submit waits for room as long as it takes.
func submit(ctx context.Context, q Queue, r queue.Request) (Pending, error) {
	for {
		p, err := q.Submit(ctx, r)
		if _, full := errors.AsType[*queue.FullError](err); !full {
			return p, err
		}
		t := time.NewTimer(retryFull)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		}
	}
}

// receive waits for the lines in their order, and for the reader to end. The first error ends the reading; what was
// submitted before that is still waited for.
func (s *source) receive(ctx context.Context, stop context.CancelFunc) (Counts, error) {
	var n Counts
	var first error
	for out := range s.sent {
		switch err := s.settle(ctx, &out); {
		case err == nil:
			n.Items++
			n.Bytes += int64(len(out.request.Items[0].Body))
		case first == nil:
			first = explain(out.line, err)
			stop()
		}
	}
	return n, first
}

// settle waits until a line is durable. A disk that was full when it should have been stored is tried again.
func (s *source) settle(ctx context.Context, out *sent) error {
	for out.err == nil {
		_, err := out.pending.Wait(context.WithoutCancel(ctx))
		if _, full := errors.AsType[*queue.FullError](err); !full {
			return err
		}
		out.pending, out.err = submit(ctx, s.q, out.request)
	}
	return out.err
}

// explain names the line that the run ends at.
func explain(line int, err error) error {
	if _, ok := errors.AsType[*ndjson.TooLongError](err); ok || errors.Is(err, context.Canceled) {
		return err
	}
	if e, ok := errors.AsType[*queue.TooLargeError](err); ok {
		return fmt.Errorf("line %d has %d %s, at most %d are allowed", line, e.Size, e.What, e.Limit)
	}
	return fmt.Errorf("line %d: %w", line, err)
}
