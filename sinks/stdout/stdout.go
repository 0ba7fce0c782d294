// Step 8 of an item's life: it is written to standard output.

// Package stdout delivers items as whole lines to a writer that the process has open already: the item and an LF.
//
// Done means written, and flushed if the writer has a Flush: the kernel or the reader of the pipe has the lines. It does
// not mean durable.
//
// A duplicate is the same line again; in the formats json and cloudevents it has the same id, which is what to dedupe on. In format raw
// nothing tells it from a second item with the same body. A raw body that holds an LF is several lines.
//
// No error is permanent: what a writer refuses, it refuses for a reason of its own. A closed pipe is Unavailable. A
// process that writes to its own standard output must ignore SIGPIPE, or the Go runtime ends it at the first write to a
// closed pipe.
package stdout

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"holdfast/sinks"
)

// A Writer is an output that several sinks share: lines of one are never inside lines of another. It is safe for
// concurrent use.
//
// A write that blocks is interrupted where the output has write deadlines (a pipe in non-blocking mode, a socket).
// Elsewhere it is left to itself when its context ends: the Writer stays busy until it returns, and the lines may still
// come out, as duplicates.
type Writer struct {
	w         io.Writer
	deadlines interface{ SetWriteDeadline(time.Time) error } // nil: a write cannot be interrupted
	busy      chan struct{}                                  // capacity 1; who has put a value in owns w and torn
	torn      bool                                           // the last write ended inside a line
}

// Share makes w an output for sinks. Nobody else may write to w, set deadlines on it or close it.
func Share(w io.Writer) *Writer {
	out := &Writer{w: w, busy: make(chan struct{}, 1)}
	if d, ok := w.(interface{ SetWriteDeadline(time.Time) error }); ok && d.SetWriteDeadline(time.Time{}) == nil {
		out.deadlines = d
	}
	return out
}

// A Sink writes to a Writer. It is safe for concurrent use.
type Sink struct {
	out    *Writer
	o      Options
	closed atomic.Bool
}

// New makes a sink that writes to out. It errs where an option is not valid, naming it.
func New(out *Writer, o Options) (*Sink, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Sink{out: out, o: o}, nil
}

// Deliver writes the items, in order and in one write, and returns when they are written. Every error is Unavailable; a
// part of the items may be out then. What is written of a line is ended by an LF before the next one.
func (s *Sink) Deliver(ctx context.Context, items []sinks.Item) error {
	lines := s.o.Format.AppendLines(nil, items, s.o.Source) // a copy: the write may outlive this call
	err := os.ErrClosed
	if !s.closed.Load() {
		err = s.out.write(ctx, lines)
	}
	if err != nil {
		return sinks.Unavailable(fmt.Errorf("stdout: %w", err))
	}
	return nil
}

// Close ends the use of this sink. The output stays open: it is not the sink's.
func (s *Sink) Close() error {
	s.closed.Store(true)
	return nil
}

func (w *Writer) write(ctx context.Context, lines []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case w.busy <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	go func() {
		err := w.put(ctx, lines)
		<-w.busy
		done <- err
	}()
	interrupt := ctx.Done()
	if w.deadlines != nil {
		interrupt = nil // put comes back by itself
	}
	select {
	case err := <-done:
		return err
	case <-interrupt:
		return ctx.Err()
	}
}

func (w *Writer) put(ctx context.Context, lines []byte) error {
	if w.torn {
		lines = append([]byte{'\n'}, lines...)
	}
	n, err := w.interruptible(ctx, lines)
	if n > 0 {
		w.torn = lines[n-1] != '\n'
	}
	if f, ok := w.w.(interface{ Flush() error }); ok && err == nil {
		err = f.Flush()
	}
	return err
}

// interruptible writes, and stops in the middle if ctx ends and the output has deadlines.
func (w *Writer) interruptible(ctx context.Context, lines []byte) (int, error) {
	if w.deadlines == nil {
		return w.w.Write(lines)
	}
	set := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { set <- w.deadlines.SetWriteDeadline(time.Unix(1, 0)) })
	n, err := w.w.Write(lines)
	if stop() {
		return n, err
	}
	if derr := <-set; derr != nil && err == nil {
		return n, derr
	}
	if derr := w.deadlines.SetWriteDeadline(time.Time{}); derr != nil && err == nil {
		return n, derr
	}
	if err != nil {
		err = fmt.Errorf("%w after %d of %d bytes", ctx.Err(), n, len(lines))
	}
	return n, err
}
