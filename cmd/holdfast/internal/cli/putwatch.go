package cli

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"holdfast/cmd/holdfast/internal/client"
)

const (
	// patience is how long lines may be without an answer before put says that it waits.
	patience = 3 * time.Second
	// grace is how long an interrupted put waits for the receipts that are due.
	grace = time.Second
)

// errInterrupted is how a stream ends whose receipts did not come within grace.
var errInterrupted = errors.New("interrupted")

// A watch looks after a stream: it says when the server takes nothing for a
// while, and ends the stream when the put is interrupted.
type watch struct {
	*putJob
	stream  *client.Stream
	answers atomic.Int64
	over    chan struct{} // closed when no answer will come any more
	stalled bool          // run's, until it returns: nothing is taken
}

// run returns when over is closed.
func (w *watch) run(ctx context.Context) {
	const tick = patience / 10
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var seen int64
	var quiet time.Duration
	for {
		select {
		case <-w.over:
			return
		case <-ctx.Done():
			w.interrupt()
			return
		case <-ticker.C:
		}
		quiet += tick
		if n := w.answers.Load(); n != seen || w.stream.Underway() == 0 {
			seen, quiet, w.stalled = n, 0, false
		}
		if quiet >= patience+w.wait && !w.stalled {
			w.stalled = true
			w.meter.clear()
			w.notice("waiting: the server takes no more for now; `holdfast status` and `holdfast sink ls` show why")
		}
	}
}

// interrupt ends the sending, and after grace everything.
func (w *watch) interrupt() {
	limit := time.AfterFunc(grace, func() { w.stream.Close(errInterrupted) })
	defer limit.Stop()
	w.stream.CloseSend()
	<-w.over
}
