package clienttest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

func (s *Server) listDead(w http.ResponseWriter, r *http.Request) {
	s.known(r, "sink", "limit", "after")
	var dead []JSON
	for _, d := range s.Dead {
		if sink := r.URL.Query().Get("sink"); sink == "" || d["sink"] == sink {
			dead = append(dead, d)
		}
	}
	s.page(w, r, dead)
}

func (s *Server) getDead(w http.ResponseWriter, r *http.Request) {
	s.known(r)
	for _, d := range s.Dead {
		if d["sink"] == r.PathValue("sink") && d["id"] == r.PathValue("id") {
			answer(w, 200, d)
			return
		}
	}
	refuse(w, Problem(404, "not_found", "no dead letter "+r.PathValue("id")+" of "+r.PathValue("sink")))
}

// changeDead counts what the filter chooses; requeue and purge take nothing
// away, so that a test can ask again.
func (s *Server) changeDead(w http.ResponseWriter, r *http.Request) {
	s.known(r)
	if verb := r.PathValue("verb"); verb != "requeue" && verb != "purge" {
		s.t.Errorf("unknown verb %q", verb)
	}
	if ct := r.Header.Get("Content-Type"); ct != "application/json" {
		refuse(w, Problem(415, "unsupported", "a filter is application/json, not "+ct))
		return
	}
	var filter JSON
	if err := json.NewDecoder(r.Body).Decode(&filter); err != nil {
		refuse(w, Problem(400, "malformed", err.Error()))
		return
	}
	s.mu.Lock()
	s.filters = append(s.filters, filter)
	s.mu.Unlock()
	count, lost := 0, 0
	for _, d := range s.Dead {
		switch {
		case !s.chosen(filter, d):
		case r.PathValue("verb") == "requeue" && d["lost"] == true:
			lost++
		default:
			count++
		}
	}
	if lost == 0 {
		answer(w, 200, JSON{"count": count})
		return
	}
	answer(w, 200, JSON{"count": count, "lost": lost})
}

func (s *Server) chosen(filter, d JSON) bool {
	yes := true
	for name, want := range filter {
		switch name {
		case "sink":
			yes = yes && d["sink"] == want
		case "ids":
			yes = yes && slices.Contains(want.([]any), d["id"])
		case "error_contains":
			yes = yes && strings.Contains(d["last_error"].(string), want.(string))
		case "died_before":
			before, err := time.Parse(time.RFC3339, want.(string))
			died, _ := time.Parse(time.RFC3339, d["died"].(string))
			if err != nil {
				s.t.Errorf("died_before: %v", err)
			}
			yes = yes && died.Before(before)
		case "all", "dry_run":
			if want != true {
				s.t.Errorf("%s: %v", name, want)
			}
		default:
			s.t.Errorf("unknown field %q of a filter", name)
		}
	}
	return yes
}
