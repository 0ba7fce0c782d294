package api

import (
	"cmp"
	"context"
	"net/http"

	"holdfast/queue"
)

// A sinkShape is a sink with its queue's figures and its lane's state.
type sinkShape struct {
	Sink         string `json:"sink"`
	Type         string `json:"type"`
	State        string `json:"state"`           // active, backoff, down, paused, orphan
	Since        string `json:"since,omitempty"` // when it went down, if it is
	Waiting      int64  `json:"waiting"`
	WaitingBytes int64  `json:"waiting_bytes"`
	Oldest       string `json:"oldest,omitempty"`
	InFlight     int    `json:"in_flight"`
	Dead         int64  `json:"dead"`
	Delivered    int64  `json:"delivered"` // since the start, as dropped
	Dropped      int64  `json:"dropped"`
	LastError    string `json:"last_error,omitempty"`
	LastFailure  string `json:"last_failure,omitempty"` // when that was, if it was since the start
	NextAttempt  string `json:"next_attempt,omitempty"`
}

// sinks merges what the queue and the lanes know.
func (s *Server) sinks() []sinkShape {
	lanes := map[string]Lane{}
	for _, l := range s.o.Lanes() {
		lanes[l.Sink] = l
	}
	out := []sinkShape{}
	for _, q := range s.q.Sinks() {
		out = append(out, s.shape(q, lanes[q.Name]))
	}
	return out
}

func (s *Server) shape(q queue.SinkStatus, l Lane) sinkShape {
	out := sinkShape{
		Sink: q.Name, Type: s.o.SinkTypes[q.Name], State: q.State, Waiting: q.Waiting, WaitingBytes: q.WaitingBytes,
		Oldest: when(q.Oldest), InFlight: max(q.InFlight, l.InFlight), Dead: q.Dead, Delivered: q.Delivered, Dropped: q.Dropped,
		LastError: cmp.Or(l.LastError, q.LastError),
	}
	if l.LastError != "" {
		out.LastFailure = when(l.LastFailure)
	}
	if q.Held || !q.Unread.IsZero() {
		out.LastError, out.LastFailure = q.LastError, ""
	}
	if q.State == "active" { // only the lane knows how well; an operator's word weighs more
		out.State, out.Since = cmp.Or(l.State, q.State), when(l.Since)
		out.NextAttempt = when(cmp.Or(l.NextAttempt, q.NextAttempt))
	}
	return out
}

// sinkNamed returns one sink, and a problem if there is none of that name.
func (s *Server) sinkNamed(name string) (sinkShape, error) {
	for _, sink := range s.sinks() {
		if sink.Sink == name {
			return sink, nil
		}
	}
	return sinkShape{}, &Problem{Code: NotFound, Detail: "there is no sink " + quote(name)}
}

func (s *Server) getSinks(w http.ResponseWriter, _ *http.Request) {
	s.answerJSON(w, http.StatusOK, map[string]any{"items": s.sinks()})
}

func (s *Server) getSink(w http.ResponseWriter, r *http.Request) {
	sink, err := s.sinkNamed(r.PathValue("sink"))
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.answerJSON(w, http.StatusOK, sink)
}

// operate makes a handler of a verb of the queue on one sink, which answers with the sink. The change is durable then.
func (s *Server) operate(verb func(ctx context.Context, sink string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("sink")
		if _, err := s.sinkNamed(name); err != nil {
			s.refuse(w, err)
			return
		}
		if err := verb(r.Context(), name); err != nil {
			s.refuse(w, err)
			return
		}
		s.getSink(w, r)
	}
}
