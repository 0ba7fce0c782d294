// Package clienttest is a holdfast server for tests of its client and its
// command line: the shapes of the HTTP API, held to strictly, without an
// engine. What a request says that the API does not know is a failed test.
package clienttest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// JSON is a document as the server would write it.
type JSON = map[string]any

// Server answers as holdfast does. Set its fields before the first request.
type Server struct {
	*httptest.Server
	t testing.TB

	Items  map[string]JSON   // item states by id
	Bodies map[string][]byte // by id
	Gone   []string          // ids answered with 410
	Sinks  []JSON
	Dead   []JSON
	Status JSON
	Down   JSON          // if set, /healthz and /readyz are 503 with this problem
	Page   int           // list pages hold at most so many, if set
	Stream Stream        // how /v1/stream behaves
	Hang   chan struct{} // if set, /v1/status does not answer before it is closed

	mu      sync.Mutex
	puts    []Put  // guarded by mu
	filters []JSON // guarded by mu
}

// Put is one item as it came in.
type Put struct {
	Body   string      // a line, without its LF, or a whole body
	Header http.Header // of its request
}

// New starts a server that is closed at the end of the test.
func New(t testing.TB) *Server {
	s := &Server{t: t, Items: map[string]JSON{}, Bodies: map[string][]byte{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/items", s.postItem)
	mux.HandleFunc("POST /v1/stream", s.stream)
	mux.HandleFunc("GET /v1/items/{id}", s.getItem)
	mux.HandleFunc("GET /v1/items/{id}/body", s.getBody)
	mux.HandleFunc("GET /v1/sinks", s.listSinks)
	mux.HandleFunc("GET /v1/sinks/{sink}", s.getSink)
	mux.HandleFunc("POST /v1/sinks/{sink}/{verb}", s.changeSink)
	mux.HandleFunc("GET /v1/dead", s.listDead)
	mux.HandleFunc("GET /v1/dead/{sink}/{id}", s.getDead)
	mux.HandleFunc("POST /v1/dead/{verb}", s.changeDead)
	mux.HandleFunc("GET /v1/status", s.getStatus)
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /readyz", s.health)
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// Puts returns what was put so far.
func (s *Server) Puts() []Put {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.puts)
}

// Filters returns the filters of dead letters that were sent so far.
func (s *Server) Filters() []JSON {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.filters)
}

// Problem is a problem document; positions may be empty.
func Problem(status int, code, detail string, positions ...JSON) JSON {
	p := JSON{"type": "urn:holdfast:problem:" + code, "title": code, "status": status, "detail": detail, "code": code}
	if len(positions) > 0 {
		p["errors"] = positions
	}
	return p
}

func refuse(w http.ResponseWriter, problem JSON) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(problem["status"].(int))
	json.NewEncoder(w).Encode(problem)
}

func answer(w http.ResponseWriter, status int, doc any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(doc)
}

// known fails the test over a query parameter that the API does not have.
func (s *Server) known(r *http.Request, names ...string) {
	for name := range r.URL.Query() {
		if !slices.Contains(names, name) {
			s.t.Errorf("%s %s: unknown query parameter %q", r.Method, r.URL.Path, name)
		}
	}
}

// headers fails the test over a Holdfast header that the API does not have.
func (s *Server) headers(h http.Header) {
	ours := []string{"Holdfast-Type", "Holdfast-Source", "Holdfast-Key", "Holdfast-Ttl", "Holdfast-Not-Before"}
	for name := range h {
		if strings.HasPrefix(name, "Holdfast-") && !strings.HasPrefix(name, "Holdfast-Attr-") && !slices.Contains(ours, name) {
			s.t.Errorf("unknown header %q", name)
		}
	}
}

func (s *Server) page(w http.ResponseWriter, r *http.Request, items []JSON) {
	start, limit := 0, 100
	if after := r.URL.Query().Get("after"); after != "" {
		fmt.Sscan(after, &start)
	}
	if l := r.URL.Query().Get("limit"); l != "" {
		if _, err := fmt.Sscan(l, &limit); err != nil || limit < 1 || limit > 1000 {
			refuse(w, Problem(400, "malformed", "limit must be 1 to 1000"))
			return
		}
	}
	if s.Page > 0 {
		limit = min(limit, s.Page)
	}
	end := min(start+limit, len(items))
	doc := JSON{"items": append([]JSON{}, items[start:end]...)}
	if end < len(items) {
		doc["next"] = fmt.Sprint(end)
	}
	answer(w, 200, doc)
}

func (s *Server) postItem(w http.ResponseWriter, r *http.Request) {
	s.headers(r.Header)
	body, err := io.ReadAll(r.Body)
	if err != nil || len(body) == 0 {
		refuse(w, Problem(400, "malformed", "the body is empty"))
		return
	}
	if strings.Contains(r.Header.Get("Content-Type"), "ndjson") {
		s.t.Errorf("POST /v1/items as %q", r.Header.Get("Content-Type"))
	}
	n := s.keep(Put{Body: string(body), Header: r.Header.Clone()})
	if s.Stream.Refuse != nil {
		if p := s.Stream.Refuse(n, string(body)); p != nil {
			refuse(w, p)
			return
		}
	}
	if r.Header.Get("Prefer") != "" {
		w.Header().Set("Preference-Applied", "wait")
		answer(w, 200, s.state(n))
		return
	}
	w.Header().Set("Location", "/v1/items/"+id(n))
	answer(w, 202, receipt(n))
}

func (s *Server) keep(p Put) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts = append(s.puts, p)
	return len(s.puts)
}

func id(n int) string { return fmt.Sprintf("0198c5a0-0000-7000-8000-%012d", n) }

func receipt(n int) JSON {
	return JSON{"id": id(n), "accepted": "2026-01-31T08:00:00Z", "duplicate": false, "routed_to": []string{"crm"}}
}

func (s *Server) state(n int) JSON {
	return JSON{"id": id(n), "accepted": "2026-01-31T08:00:00Z", "state": "complete", "size": 1,
		"sinks": []JSON{{"sink": "crm", "state": "done", "attempts": 1}}}
}

func (s *Server) getItem(w http.ResponseWriter, r *http.Request) {
	s.known(r)
	id := r.PathValue("id")
	if slices.Contains(s.Gone, id) {
		refuse(w, Problem(410, "released", "item "+id+" was delivered and released"))
		return
	}
	if it, ok := s.Items[id]; ok {
		answer(w, 200, it)
		return
	}
	refuse(w, Problem(404, "not_found", "no item "+id))
}

func (s *Server) getBody(w http.ResponseWriter, r *http.Request) {
	if b, ok := s.Bodies[r.PathValue("id")]; ok {
		w.Write(b)
		return
	}
	s.getItem(w, r)
}

func (s *Server) listSinks(w http.ResponseWriter, r *http.Request) {
	s.known(r, "limit", "after")
	s.page(w, r, s.Sinks)
}

func (s *Server) findSink(name string) JSON {
	for _, sink := range s.Sinks {
		if sink["sink"] == name {
			return maps.Clone(sink)
		}
	}
	return nil
}

func (s *Server) getSink(w http.ResponseWriter, r *http.Request) {
	s.known(r)
	if sink := s.findSink(r.PathValue("sink")); sink != nil {
		answer(w, 200, sink)
		return
	}
	refuse(w, Problem(404, "not_found", "no sink "+r.PathValue("sink")))
}

func (s *Server) changeSink(w http.ResponseWriter, r *http.Request) {
	s.known(r)
	sink := s.findSink(r.PathValue("sink"))
	if sink == nil {
		refuse(w, Problem(404, "not_found", "no sink "+r.PathValue("sink")))
		return
	}
	switch verb := r.PathValue("verb"); {
	case sink["state"] == "orphan":
		refuse(w, Problem(409, "orphan", "sink "+r.PathValue("sink")+" is not configured any more"))
	case verb == "pause":
		sink["state"] = "paused"
		answer(w, 200, sink)
	case verb == "resume":
		sink["state"] = "active"
		answer(w, 200, sink)
	default:
		s.t.Errorf("unknown verb %q", verb)
	}
}

func (s *Server) getStatus(w http.ResponseWriter, r *http.Request) {
	s.known(r)
	if s.Hang != nil {
		<-s.Hang
	}
	answer(w, 200, s.Status)
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	s.known(r)
	if s.Down != nil {
		refuse(w, s.Down)
		return
	}
	status := "ok"
	if r.URL.Path == "/readyz" {
		status = "ready"
	}
	answer(w, http.StatusOK, JSON{"status": status})
}
