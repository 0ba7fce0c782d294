package api

import (
	"context"
	"time"
)

// A patience is a context that ends when it was not renewed for a while. It stands for the context.WithTimeout of each request
// and line: those of lines made more than a third of the objects that the service allocated. One goroutine uses it.
type patience struct {
	context.Context               // never ends, and has no values
	lease                         // of timer
	over            chan struct{} // closed by timer
	timer           *time.Timer   // nil: never asked for
}

func newPatience(limit time.Duration) *patience {
	p := &patience{Context: context.Background()}
	p.lease = lease{set: p.ring, length: limit}
	return p
}

// renew returns it with all of its time before it.
func (p *patience) renew() context.Context {
	p.extend()
	return p
}

func (p *patience) ring(at time.Time) error {
	if p.timer != nil && p.timer.Stop() {
		p.timer.Reset(time.Until(at))
		return nil
	}
	over := make(chan struct{})
	p.over, p.timer = over, time.AfterFunc(time.Until(at), func() { close(over) })
	return nil
}

// stop lets go of its timer.
func (p *patience) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

// Done is closed when the time is over.
func (p *patience) Done() <-chan struct{} { return p.over }

// Err is nil until then.
func (p *patience) Err() error {
	select {
	case <-p.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// A bounded context ends when limit is over, from when somebody began to wait for it. Most never do, and then it costs nothing.
// One goroutine uses it.
type bounded struct {
	context.Context // its parent, until somebody waits
	limit           time.Duration
	cancel          context.CancelFunc // nil: nobody waited
}

// Done is closed when it ends.
func (b *bounded) Done() <-chan struct{} {
	if b.cancel == nil {
		b.Context, b.cancel = context.WithTimeout(b.Context, b.limit)
	}
	return b.Context.Done()
}

// end lets go of its timer.
func (b *bounded) end() {
	if b.cancel != nil {
		b.cancel()
	}
}
