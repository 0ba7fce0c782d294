package api

import (
	"context"

	"github.com/google/uuid"

	"holdfast/queue"
	"holdfast/store"
)

// A Queue is what the API needs of package queue. Over makes one of a *queue.Queues.
type Queue interface {
	Submit(ctx context.Context, r queue.Request) (Pending, error)
	Join(ids ...uuid.UUID) (Join, error)
	State(id uuid.UUID) (queue.ItemState, error)
	Item(id uuid.UUID) (store.Item, error)
	Sinks() []queue.SinkStatus
	Pause(ctx context.Context, sink string) error
	Resume(ctx context.Context, sink string) error
	Status() queue.Status
	Dead(sink, after string, limit int) ([]queue.DeadLetter, string, error)
	DeadLetter(sink string, id uuid.UUID) (queue.DeadLetter, error)
	Requeue(ctx context.Context, f queue.DeadFilter) (n, lost int, err error)
	Purge(ctx context.Context, f queue.DeadFilter) (int, error)
}

// A Pending is a request on its way to the log. Wait may be called again after a ctx has ended, unless the request asked
// for a Join: that is closed with the first Wait that fails.
type Pending interface {
	// Wait returns what became of the request; queue.ErrUncertain if ctx ends first. One that is answered already is
	// told even if ctx has ended.
	Wait(ctx context.Context) (Accepted, error)
	// Release gives its memory back when it has been answered. It is called once, and last: what Wait returned is not to be
	// looked at any more.
	Release()
}

// Accepted is the answer to a request.
type Accepted struct {
	Receipts []queue.Receipt
	Join     Join // nil unless the request asked for it
}

// A Join waits until nothing of some items is owed any more.
type Join interface {
	Wait(ctx context.Context) error
	Close()
}

// Over is the Queue that q is.
func Over(q *queue.Queues) Queue { return over{q} }

type over struct{ *queue.Queues }

func (o over) Submit(ctx context.Context, r queue.Request) (Pending, error) {
	p, err := o.Queues.Submit(ctx, r)
	if err != nil {
		return nil, err
	}
	return pending{p}, nil
}

func (o over) Join(ids ...uuid.UUID) (Join, error) {
	j, err := o.Queues.Join(ids...)
	if err != nil {
		return nil, err
	}
	return j, nil
}

type pending struct{ *queue.Pending }

func (p pending) Wait(ctx context.Context) (Accepted, error) {
	a, err := p.Pending.Wait(ctx)
	if err != nil {
		return Accepted{}, err
	}
	out := Accepted{Receipts: a.Receipts}
	if a.Join != nil {
		out.Join = a.Join
	}
	return out, nil
}
