package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/google/uuid"

	"holdfast/queue"
	"holdfast/sinks"
)

// A deadLetter is one as the API shows it.
type deadLetter struct {
	Sink       string          `json:"sink"`
	ID         uuid.UUID       `json:"id"`
	Accepted   string          `json:"accepted,omitempty"` // absent where it is not known, of a lost one
	Died       string          `json:"died"`
	Attempts   int             `json:"attempts"`
	FirstError string          `json:"first_error"`
	LastError  string          `json:"last_error"`
	Permanent  bool            `json:"permanent"`
	Lost       bool            `json:"lost,omitempty"` // the item is damaged or missing
	Item       json.RawMessage `json:"item,omitempty"` // its envelope; absent where it is lost
}

func newDeadLetter(d queue.DeadLetter) deadLetter {
	out := deadLetter{
		Sink: d.Sink, ID: d.ID, Accepted: when(d.Accepted), Died: when(d.Died), Attempts: d.Attempts,
		FirstError: d.FirstError, LastError: d.LastError, Permanent: d.Permanent, Lost: d.Lost,
	}
	if !d.Lost {
		it := sinks.Item{ID: d.ID, Accepted: d.Accepted, Key: d.Item.Key, Attrs: d.Item.Attrs, Body: d.Item.Body}
		out.Item = sinks.AppendEnvelope(nil, &it)
	}
	return out
}

// The number of entries of a list.
const defaultLimit, maxLimit = 100, 1000

// getDead lists dead letters: ?sink=&after=&limit=, where after is the next of the page before.
func (s *Server) getDead(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	for name := range query {
		if name != "sink" && name != "after" && name != "limit" {
			s.refuse(w, invalid(0, name, "there is no such parameter"))
			return
		}
	}
	limit := defaultLimit
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxLimit {
			s.refuse(w, invalid(0, "limit", "it is a number from 1 to %d", maxLimit))
			return
		}
		limit = n
	}
	letters, next, err := s.q.Dead(query.Get("sink"), query.Get("after"), limit)
	if err != nil {
		s.refuse(w, locate(err, items{}))
		return
	}
	list := struct {
		Items []deadLetter `json:"items"`
		Next  string       `json:"next,omitempty"`
	}{[]deadLetter{}, next}
	for _, d := range letters {
		list.Items = append(list.Items, newDeadLetter(d))
	}
	s.answerJSON(w, http.StatusOK, list)
}

func (s *Server) getDeadLetter(w http.ResponseWriter, r *http.Request) {
	id, err := pathID(r)
	if err != nil {
		s.refuse(w, err)
		return
	}
	d, err := s.q.DeadLetter(r.PathValue("sink"), id)
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.answerJSON(w, http.StatusOK, newDeadLetter(d))
}

// deleteDeadLetter purges one.
func (s *Server) deleteDeadLetter(w http.ResponseWriter, r *http.Request) {
	id, err := pathID(r)
	if err != nil {
		s.refuse(w, err)
		return
	}
	n, err := s.q.Purge(r.Context(), queue.DeadFilter{Sink: r.PathValue("sink"), IDs: []uuid.UUID{id}})
	switch {
	case err != nil:
		s.refuse(w, err)
	case n == 0:
		s.refuse(w, &Problem{Code: NotFound, Detail: "there is no such dead letter"})
	default:
		s.answerJSON(w, http.StatusOK, map[string]int{"count": n})
	}
}

// maxFilterBytes bounds the body of a filter: some 25,000 ids.
const maxFilterBytes = 1 << 20

// A deadCount is how many dead letters a filter chose, and of those to be requeued how many were lost and stay.
type deadCount struct {
	Count int `json:"count"`
	Lost  int `json:"lost,omitempty"`
}

func (s *Server) requeueDead(ctx context.Context, f queue.DeadFilter) (c deadCount, err error) {
	c.Count, c.Lost, err = s.q.Requeue(ctx, f)
	return c, err
}

func (s *Server) purgeDead(ctx context.Context, f queue.DeadFilter) (c deadCount, err error) {
	c.Count, err = s.q.Purge(ctx, f)
	return c, err
}

// filtered makes a handler of a verb on the dead letters that a filter chooses.
func (s *Server) filtered(verb func(context.Context, queue.DeadFilter) (deadCount, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		memory := s.share(r.Context())
		defer memory.release()
		body, err := s.readBody(w, r, maxFilterBytes, memory)
		if err != nil {
			s.refuse(w, unread(err, "a filter", maxFilterBytes))
			return
		}
		f, err := decodeFilter(body)
		if err != nil {
			s.refuse(w, err)
			return
		}
		c, err := verb(r.Context(), f)
		if err != nil {
			s.refuse(w, err)
			return
		}
		s.answerJSON(w, http.StatusOK, c)
	}
}
