package clienttest

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
)

// Stream is how /v1/stream behaves; the zero value accepts every line and
// answers it at once.
type Stream struct {
	// Head, if set, is the problem that refuses the stream as a whole.
	Head JSON
	// Refuse gives the problem of line n (from 1), or nil. Its status 413 ends the stream.
	Refuse func(n int, line string) JSON
	// Lag keeps so many lines under way: line n is answered when line n+Lag-1
	// has come, or the input ended.
	Lag int
	// DieAfter breaks the connection when so many lines were answered.
	DieAfter int
	// EndAfter ends the answers in good order when so many lines were answered.
	EndAfter int
	// Pad makes every answer so many bytes longer.
	Pad int
	// Duplicate says which lines are duplicates.
	Duplicate func(n int) bool
	// Pending are joins that do not complete in time.
	Pending func(n int) bool
	// Sink is the state of line n's one sink, if it returns any; else it is done.
	Sink func(n int) string
	// Garble replaces the answer of a line, if it returns any.
	Garble func(n int) string
	// Arrived is called when line n has come, before it is answered.
	Arrived func(n int)
}

func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	s.known(r)
	s.headers(r.Header)
	if !r.Close {
		s.t.Error("a stream on a connection that is to be used again")
	}
	c := http.NewResponseController(w)
	if err := c.EnableFullDuplex(); err != nil {
		s.t.Error(err)
	}
	if s.Stream.Head != nil {
		refuse(w, s.Stream.Head)
		return
	}
	envelopes := false
	switch ct := r.Header.Get("Content-Type"); ct {
	case "application/x-ndjson":
	case "application/vnd.holdfast.items+ndjson":
		envelopes = true
	default:
		refuse(w, Problem(415, "unsupported", ct))
		return
	}
	if r.Header.Get("Idempotency-Key") != "" {
		refuse(w, Problem(400, "malformed", "Idempotency-Key on several items"))
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(200)
	c.Flush()
	st := &streaming{s: s, w: w, c: c, r: r, wait: strings.HasPrefix(r.Header.Get("Prefer"), "wait="), envelopes: envelopes}
	st.run()
}

// streaming is one stream under way.
type streaming struct {
	s               *Server
	w               http.ResponseWriter
	c               *http.ResponseController
	r               *http.Request
	wait, envelopes bool
	lines           []string
	answered        int
}

func (st *streaming) run() {
	in := bufio.NewReader(st.r.Body)
	lag := max(1, st.s.Stream.Lag)
	line, err := in.ReadString('\n')
	for ; err == nil; line, err = in.ReadString('\n') {
		st.take(strings.TrimSuffix(line, "\n"))
		if st.s.Stream.Arrived != nil {
			st.s.Stream.Arrived(len(st.lines))
		}
		for len(st.lines)-st.answered >= lag {
			if !st.answer() {
				return
			}
		}
	}
	for err == io.EOF && st.answered < len(st.lines) {
		if !st.answer() {
			return
		}
	}
}

func (st *streaming) take(line string) {
	if line == "" {
		st.s.t.Error("an empty line on a stream")
	}
	if st.envelopes {
		var e JSON
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			st.s.t.Errorf("envelope %s: %v", line, err)
		}
		fields := []string{"type", "source", "key", "attrs", "content_type", "body", "body_base64", "idempotency_key", "ttl", "not_before"}
		for name := range e {
			if !slices.Contains(fields, name) {
				st.s.t.Errorf("envelope with unknown field %q", name)
			}
		}
	}
	st.lines = append(st.lines, line)
	st.s.keep(Put{Body: line, Header: st.r.Header.Clone()})
}

// answer answers the next line; false ends the stream.
func (st *streaming) answer() bool {
	how := st.s.Stream
	st.answered++
	n := st.answered
	doc := JSON{"line": n}
	more := true
	var problem JSON
	if how.Refuse != nil {
		problem = how.Refuse(n, st.lines[n-1])
	}
	switch {
	case problem != nil:
		doc["problem"] = problem
		more = problem["status"] != 413
	case st.wait:
		item := st.s.state(n)
		if how.Pending != nil && how.Pending(n) {
			item["state"] = "pending"
		}
		if how.Sink != nil && how.Sink(n) != "" {
			item["sinks"].([]JSON)[0]["state"] = how.Sink(n)
		}
		if how.Duplicate != nil && how.Duplicate(n) {
			item["duplicate"] = true
		}
		doc["item"] = item
	default:
		got := receipt(n)
		if how.Duplicate != nil && how.Duplicate(n) {
			got["duplicate"] = true
			delete(got, "routed_to")
		}
		doc["receipt"] = got
	}
	if how.Pad > 0 {
		doc["pad"] = strings.Repeat("x", how.Pad)
	}
	st.write(doc, n)
	if how.DieAfter == n {
		st.die()
		return false
	}
	return more && how.EndAfter != n
}

// die cuts the connection, as a killed server does: answers that the client has
// not read yet may be lost with it. Panicking with
// http.ErrAbortHandler would not: it reads on from the client first.
func (st *streaming) die() {
	conn, _, err := st.c.Hijack()
	if err != nil {
		st.s.t.Error(err)
		return
	}
	conn.Close()
}

func (st *streaming) write(doc JSON, n int) {
	b, err := json.Marshal(doc)
	if err != nil {
		st.s.t.Error(err)
	}
	if st.s.Stream.Garble != nil {
		if text := st.s.Stream.Garble(n); text != "" {
			b = []byte(text)
		}
	}
	st.w.Write(append(b, '\n'))
	st.c.Flush()
}
