package api

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"holdfast/queue"
)

// An itemState is an item with what became of it, per sink.
type itemState struct {
	ID          uuid.UUID         `json:"id"`
	Accepted    string            `json:"accepted,omitempty"` // absent where it is not known, of a lost one
	State       string            `json:"state"`
	Duplicate   bool              `json:"duplicate,omitempty"` // to who put it: it had been accepted before
	Size        *int              `json:"size,omitempty"`      // absent of a lost one
	Type        string            `json:"type,omitempty"`
	Source      string            `json:"source,omitempty"`
	Key         string            `json:"key,omitempty"`
	ContentType string            `json:"content_type,omitempty"`
	Attrs       map[string]string `json:"attrs"`
	Sinks       []progress        `json:"sinks"`
}

// The states of an item. To one who waits, complete and lost mean that no sink is sent it again, not even after a power
// cut; lost is one that is damaged or missing before every sink had it.
const (
	statePending  = "pending"
	stateComplete = "complete"
	stateLost     = "lost"
)

type progress struct {
	Sink        string `json:"sink"`
	State       string `json:"state"`
	SinkState   string `json:"sink_state,omitempty"` // of what waits, unless the sink is active
	Attempts    *int   `json:"attempts,omitempty"`   // absent where it is not known: nobody keeps it for what is done
	NextAttempt string `json:"next_attempt,omitempty"`
	LastError   string `json:"last_error,omitempty"`
}

func newItemState(st queue.ItemState) itemState {
	out := itemState{
		ID: st.ID, Accepted: when(st.Accepted), State: statePending, Key: st.Key,
		Type: st.Attrs.Get("type"), Source: st.Attrs.Get("source"), ContentType: st.Attrs.Get("content-type"),
		Attrs: ownAttrs(st.Attrs.All()), Sinks: []progress{},
	}
	if st.Complete {
		out.State = stateComplete
	}
	if !st.Lost {
		out.Size = new(st.Size)
	}
	if st.Complete && isLost(st) {
		out.State = stateLost
	}
	for _, p := range st.Sinks {
		out.Sinks = append(out.Sinks, progress{Sink: p.Sink, State: p.State, Attempts: attempts(p), NextAttempt: when(p.Next), LastError: p.LastError})
	}
	return out
}

// isLost reports whether some sink did not get an item, and never will, because it is lost. An item that some sink has as a
// dead letter is, too: it cannot be sent again.
func isLost(st queue.ItemState) bool {
	return slices.ContainsFunc(st.Sinks, func(p queue.Progress) bool {
		return p.State == "lost" || st.Lost && p.State == "dead"
	})
}

// attempts is what is known of a delivery's attempts; where none are kept, nothing.
func attempts(p queue.Progress) *int {
	if p.Attempts == 0 && (p.State == "done" || p.State == "dropped" || p.State == "lost" || p.State == "waiting") {
		return nil
	}
	return new(p.Attempts)
}

// ownAttrs are the attributes that have no place of their own in the API's shapes.
func ownAttrs(all iter.Seq2[string, string]) map[string]string {
	own := map[string]string{}
	for name, v := range all {
		if name != "type" && name != "source" && name != "content-type" {
			own[name] = v
		}
	}
	return own
}

// stateOf is the state of an item that was accepted. One that went already has nothing left to tell: it is complete.
func (s *Server) stateOf(r *queue.Receipt) (itemState, error) {
	st, err := s.q.State(r.ID)
	if errors.Is(err, queue.ErrReleased) {
		st, err = queue.ItemState{ID: r.ID, Accepted: r.Accepted, Complete: true}, nil
	}
	out := newItemState(st)
	out.Duplicate = r.Duplicate
	return out, err
}

// answerStates waits for the sinks, as long as the producer asked and at most until the service stops, and answers how
// far each item is: 200 if nothing of any is owed, 202 if not.
func (s *Server) answerStates(w http.ResponseWriter, r *http.Request, d head, accepted Accepted) {
	ctx, cancel := s.untilStop(r.Context())
	defer cancel()
	status := http.StatusOK
	if accepted.Join != nil {
		ctx, stop := context.WithTimeout(ctx, d.wait)
		defer stop()
		if accepted.Join.Wait(ctx) != nil { // a state alone may be ahead of the disk
			status = http.StatusAccepted
		}
	}
	states := make([]itemState, len(accepted.Receipts))
	for i := range accepted.Receipts {
		st, err := s.stateOf(&accepted.Receipts[i])
		if err != nil {
			s.refuse(w, err)
			return
		}
		if states[i] = st; st.State == statePending {
			status = http.StatusAccepted
		}
	}
	w.Header().Set("Preference-Applied", "wait="+d.waitSeconds())
	if !d.format.several() {
		if status == http.StatusAccepted {
			states[0].State = statePending
		}
		s.answerJSON(w, status, states[0])
		return
	}
	s.answerJSON(w, status, map[string]any{"items": states})
}

// getBody sends an item's bytes, as a download that no browser looks into.
func (s *Server) getBody(w http.ResponseWriter, r *http.Request) {
	id, err := pathID(r)
	if err != nil {
		s.refuse(w, err)
		return
	}
	it, err := s.q.Item(id)
	if err != nil {
		s.refuse(w, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", `attachment; filename="`+id.String()+`"`)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(it.Body)))
	_, _ = w.Write(it.Body)
}

// pathID is the id in the request's path. What is no id belongs to no item.
func pathID(r *http.Request) (uuid.UUID, error) {
	id, err := uuid.Parse(r.PathValue("id"))
	if err != nil || len(r.PathValue("id")) != 36 {
		return id, &Problem{Code: NotFound, Detail: quote(r.PathValue("id")) + " is no item's id"}
	}
	return id, nil
}
