// Step 8 of an item's life: it is given to a program.

// Package exec delivers items to a program: one process for each delivery, without a shell, and the item on its stdin.
//
// Done means that the process ended with exit code 0 after it had read all of its stdin; what that is worth is the
// program's word. Code 0 from a process that left some of it unread is a plain error: it cannot have handled the item.
//
// A duplicate is a process with the same HOLDFAST_ID, which is what to dedupe on; HOLDFAST_ATTEMPT is above 1, unless
// holdfast itself died. In a batch dedupe on the ids in the lines; lines of format raw have none.
//
//	exit code                     the item
//	0, and all of stdin was read  done
//	65 (EX_DATAERR)               permanent: the item never will be taken. Of a batch of several: a plain error
//	75 (EX_TEMPFAIL)              unavailable: the sink holds, no attempt is spent
//	any other, or a signal        a plain error: this try failed. 64 (EX_USAGE) and 78 (EX_CONFIG) too: who says so of
//	                              an item and who says so of the set-up cannot be told apart
//	none: it cannot be started    unavailable
//	none: the context ended       unavailable
//
// In format raw stdin is the item's own bytes, and each item has a process of its own. In the formats json and cloudevents
// it is a line for each item (NDJSON), and so are raw batches (Options.BatchWithoutIDs). The end of stdin is the end of the
// items, but for a holdfast that is killed while it writes: a program that must never act on a part compares what it read
// with HOLDFAST_SIZE.
//
// The environment has the variables of Options.Env and Options.Pass and these, of which those without a value, or with a
// NUL in it, are missing: HOLDFAST_COUNT (items), HOLDFAST_SIZE (bytes on stdin) and, for one item, HOLDFAST_ID, _ATTEMPT,
// _ACCEPTED, _KEY, _TYPE, _SOURCE, _CONTENT_TYPE and _ATTR_NAME for each other attribute. A producer chooses most of
// these values: a script must quote them.
//
// Each process leads a process group. When it has ended, however that was, what is left of its group is killed: no
// grandchild outlives its item, unless it took a session of its own. When the context ends, the group gets SIGTERM and after
// Options.Grace SIGKILL; Deliver does not wait for that, but the next one does, so that no two processes have the same
// item. On Linux the process is killed with holdfast itself. Other systems than Unix know no groups: there the process
// alone is killed, at once.
//
// stdout and stderr of the process go nowhere. Errors name the program and the exit code, and what was written to stderr
// only with Options.Stderr.
package exec

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"holdfast/sinks"
)

// A Sink starts processes of one program. It is safe for concurrent use.
type Sink struct {
	o Options

	mu     sync.Mutex
	closed bool
	alive  map[*process]bool // true: its context has ended, and nobody waits for it but the next delivery
}

// New makes a sink. It errs where an option is not valid, naming it and not its value. It starts nothing, and the program
// need not be there.
func New(o Options) (*Sink, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Sink{o: o, alive: map[*process]bool{}}, nil
}

// String names the program only.
func (s *Sink) String() string { return s.o.String() }

// GoString is String.
func (s *Sink) GoString() string { return s.o.String() }

// Deliver gives the items, in order, to one process if they may be a batch, else to several, one after the other. Of
// several it starts the next only after the one before was done or refused its item for good; the items that were not
// tried are Unavailable in the BatchError.
func (s *Sink) Deliver(ctx context.Context, items []sinks.Item) error {
	groups := [][]sinks.Item{items}
	if s.o.Format == sinks.Raw || len(items) == 0 {
		groups = sinks.Groups(items, s.o.BatchWithoutIDs)
	}
	untried := sinks.Unavailable(s.named(sinks.ErrUntried))
	return sinks.InTurn(groups, func(group []sinks.Item) error { return s.give(ctx, group) }, untried)
}

// Close kills what is still running, and waits for its end, for at most a second. A Deliver after it is Unavailable.
func (s *Sink) Close() error {
	s.mu.Lock()
	s.closed = true
	alive := make([]*process, 0, len(s.alive))
	for p := range s.alive {
		alive = append(alive, p)
	}
	s.mu.Unlock()
	limit := time.NewTimer(time.Second)
	defer limit.Stop()
	for _, p := range alive {
		p.kill()
	}
	for _, p := range alive {
		select {
		case <-p.gone:
		case <-limit.C:
			return nil // the system does not let go of it; it is killed
		}
	}
	return nil
}

// give has one process handle the items, and returns when nothing reads them any more.
func (s *Sink) give(ctx context.Context, items []sinks.Item) error {
	if err := s.settled(ctx); err != nil {
		return s.unavailable(err)
	}
	input := s.encode(items)
	p, err := newProcess(s.o, s.o.environment(items, len(input)))
	if err != nil {
		return s.unavailable(fmt.Errorf("cannot start: %w", reason(err, "")))
	}
	if !s.add(p) {
		p.abandon()
		return s.unavailable(os.ErrClosed)
	}
	go p.feed(input)
	go p.live(s.remove)
	select {
	case <-p.gone:
	case <-ctx.Done():
		if s.leave(p) {
			<-p.fed
			return s.unavailable(ctx.Err())
		}
	}
	return s.verdict(p, len(items))
}

// encode returns what goes to stdin: the item's own bytes where it can, so that they are not copied.
func (s *Sink) encode(items []sinks.Item) []byte {
	if s.o.Format == sinks.Raw && !(s.o.BatchWithoutIDs && sinks.IsLine(items[0].Body)) {
		return items[0].Body
	}
	return s.o.Format.AppendLines(nil, items, s.o.Source)
}

// settled waits until no process is left that a context ended.
func (s *Sink) settled(ctx context.Context) error {
	for {
		p := s.leftover()
		if p == nil {
			return ctx.Err()
		}
		select {
		case <-p.gone:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Sink) leftover() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, left := range s.alive {
		if left {
			return p
		}
	}
	return nil
}

func (s *Sink) add(p *process) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.alive[p] = false
	}
	return !s.closed
}

// leave lets the process end without us. It returns false where the process is gone already.
func (s *Sink) leave(p *process) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, alive := s.alive[p]; !alive {
		return false
	}
	s.alive[p] = true
	p.end(s.o.Grace)
	return true
}

func (s *Sink) remove(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.alive, p)
}

// verdict says what the end of a process means for its n items.
func (s *Sink) verdict(p *process, n int) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	switch {
	case closed && (p.startErr != nil || p.code() != 0):
		return s.unavailable(os.ErrClosed)
	case p.startErr != nil:
		return s.unavailable(fmt.Errorf("cannot start: %w", reason(p.startErr, s.o.Dir)))
	case p.code() == 0 && p.readAll:
		return nil
	}
	err := s.named(p.failure())
	switch {
	case p.code() == exDataErr && n == 1:
		return sinks.Permanent(err)
	case p.code() == exTempFail:
		return sinks.Unavailable(err)
	}
	return err
}

// The codes of sysexits.h that have a meaning here.
const (
	exDataErr  = 65
	exTempFail = 75
)

// named puts the program before an error.
func (s *Sink) named(err error) error {
	return fmt.Errorf("exec %s: %w", filepath.Base(s.o.Command[0]), err)
}

func (s *Sink) unavailable(err error) error { return sinks.Unavailable(s.named(err)) }
