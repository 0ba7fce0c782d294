// Step 1 of an item's life: a producer hands it over, and it is read whole.

package api

import (
	"context"
	"net/http"

	"holdfast/queue"
)

// postItems accepts the items of one body, all or none.
func (s *Server) postItems(w http.ResponseWriter, r *http.Request) {
	memory := s.share(r.Context())
	defer memory.release()
	d, in, err := s.readItems(w, r, memory)
	if err != nil {
		s.reject(w, r, err)
		return
	}
	var accepted Accepted
	if len(in.items) > 0 { // a batch may be empty
		accepted, err = s.put(r.Context(), sessionOf(r), queue.Request{Scope: keyScope(r.Context()), Source: sourceHTTP, Items: in.items, Join: d.wait > 0})
	}
	memory.release() // not only after the wait for the sinks
	if err != nil {
		s.reject(w, r, locate(err, in))
		return
	}
	if accepted.Join != nil {
		defer accepted.Join.Close()
	}
	if !d.format.several() {
		rec := &accepted.Receipts[0]
		w.Header().Set("Location", "/v1/items/"+rec.ID.String())
		if rec.Duplicate {
			w.Header().Set("Idempotent-Replayed", "true")
		}
	}
	if d.wait > 0 {
		s.answerStates(w, r, d, accepted)
		return
	}
	s.answerReceipts(w, d, accepted.Receipts)
}

// reject answers a request whose items were refused, and counts it. A client that left is not refused; net/http counts
// one among those that took too long for its body.
func (s *Server) reject(w http.ResponseWriter, r *http.Request, err error) {
	p := s.problem(err)
	if r.Context().Err() == nil || p.Code == Timeout {
		s.metrics.reject(sourceHTTP, p)
	}
	s.refuse(w, p)
}

// put hands a request to the queue and waits until it is durable. The wait for room is bounded by Options.BlockTimeout
// and ends when the client leaves; the wait for the disk is bounded by Options.AcceptTimeout alone, for what is on its
// way to the log goes on.
func (s *Server) put(ctx context.Context, c *session, r queue.Request) (Accepted, error) {
	if s.stopping() {
		return Accepted{}, queue.ErrStopping
	}
	room := &bounded{Context: ctx, limit: s.o.BlockTimeout}
	p, err := s.q.Submit(room, r)
	room.end()
	if err != nil {
		return Accepted{}, err
	}
	return p.Wait(c.patient(s.o.AcceptTimeout))
}
