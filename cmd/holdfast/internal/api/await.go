package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"holdfast/queue"
)

// getItem shows an item's state: at once, or when every sink is done with it, for as long as ?wait=N or Prefer: wait=N
// says. One that waited gets 200 for an item that is complete, and 202 for one that is not yet.
func (s *Server) getItem(w http.ResponseWriter, r *http.Request) {
	id, err := pathID(r)
	if err != nil {
		s.refuse(w, err)
		return
	}
	wait, err := askedWait(r)
	if err != nil {
		s.refuse(w, err)
		return
	}
	st, err := s.q.State(id)
	if err != nil || wait == 0 {
		s.answerState(w, http.StatusOK, st, err)
		return
	}
	done := false
	if st, done, err = s.await(r, st, wait); done {
		s.answerState(w, http.StatusOK, st, err)
		return
	}
	st.Complete = false
	s.answerState(w, http.StatusAccepted, st, err)
}

func (s *Server) answerState(w http.ResponseWriter, status int, st queue.ItemState, err error) {
	if err != nil {
		s.refuse(w, err)
		return
	}
	out := newItemState(st)
	if !st.Complete {
		s.explain(out.Sinks)
	}
	s.answerJSON(w, status, out)
}

// explain tells of the sinks that an item waits for how they are, where that is why it waits.
func (s *Server) explain(all []progress) {
	states := map[string]string{}
	for _, sink := range s.sinks() {
		states[sink.Sink] = sink.State
	}
	for i := range all {
		switch p := &all[i]; p.State {
		case "waiting", "retrying", "blocked":
			if state := states[p.Sink]; state != "active" {
				p.SinkState = state
			}
		}
	}
}

// askedWait is how long a reader waits; 0: not at all. The query comes before the header.
func askedWait(r *http.Request) (time.Duration, error) {
	query, err := onlyParams(r, "wait")
	if err != nil {
		return 0, err
	}
	if !query.Has("wait") {
		return preferredWait(r.Header), nil
	}
	wait, ok := waitOf(query.Get("wait"))
	if !ok {
		return 0, invalid(0, "wait", "it is a number of seconds from 1 to %d", maxWait)
	}
	return wait, nil
}

// onlyParams reads a query that may have certain parameters, each once.
func onlyParams(r *http.Request, names ...string) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &Problem{Code: Malformed, Detail: "the query cannot be read"}
	}
	for name, v := range query {
		switch {
		case !slices.Contains(names, name):
			return nil, invalid(0, name, "there is no such parameter")
		case len(v) > 1:
			return nil, invalid(0, name, "it is given %d times", len(v))
		}
	}
	return query, nil
}

// await waits until nothing of an item is owed, and that is durable, and returns how far it is then, and whether it is
// done. One that went in the meantime has nothing left to tell: it is complete.
func (s *Server) await(r *http.Request, st queue.ItemState, wait time.Duration) (_ queue.ItemState, done bool, err error) {
	join, err := s.q.Join(st.ID)
	if err != nil {
		return st, false, err
	}
	defer join.Close()
	ctx, cancel := s.untilStop(r.Context())
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, wait)
	defer stop()
	done = join.Wait(ctx) == nil
	now, err := s.q.State(st.ID)
	if errors.Is(err, queue.ErrReleased) {
		st.Complete, st.Sinks = true, nil
		return st, true, nil
	}
	return now, done, err
}
