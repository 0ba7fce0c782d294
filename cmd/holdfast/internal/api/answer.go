package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// stamp is how the API writes times: RFC 3339 in UTC with milliseconds, what an id holds.
const stamp = "2006-01-02T15:04:05.000Z"

// when is t for a JSON member that is left out if t is zero.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(stamp)
}

// encode is v as one line of JSON, without the LF. v is one of the API's own shapes: it encodes.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("api: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// answerJSON answers with v.
func (s *Server) answerJSON(w http.ResponseWriter, status int, v any) {
	s.answer(w, status, "application/json", encode(v))
}

// answer sends a whole answer, and an LF after it. Who does not take it within answerTime does not get it.
func (s *Server) answer(w http.ResponseWriter, status int, contentType string, body []byte) {
	if t, ok := w.(*tracked); ok {
		t.writable.extend()
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that is gone has nobody to tell
}
