package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// A Code names a kind of problem. Codes never change their meaning.
type Code string

// The codes.
const (
	Malformed        Code = "malformed"
	Unauthorized     Code = "unauthorized"
	Forbidden        Code = "forbidden"
	CrossOrigin      Code = "cross_origin"
	NotFound         Code = "not_found"
	MethodNotAllowed Code = "method_not_allowed"
	Timeout          Code = "timeout"
	Released         Code = "released"
	Lost             Code = "lost"
	TooLarge         Code = "too_large"
	Unsupported      Code = "unsupported"
	Misdirected      Code = "misdirected"
	Mismatch         Code = "idempotency_mismatch"
	Internal         Code = "internal"
	Busy             Code = "busy"
	Full             Code = "full"
	DiskFull         Code = "disk_full"
	Stopping         Code = "stopping"
	Uncertain        Code = "uncertain"
)

// kinds tells, per code, the status, the title, and for a 503 the seconds after which it may be over.
var kinds = map[Code]struct {
	status int
	title  string
	retry  int
}{
	Malformed:        {http.StatusBadRequest, "The request is malformed", 0},
	Unauthorized:     {http.StatusUnauthorized, "A token is needed", 0},
	Forbidden:        {http.StatusForbidden, "The token may not do this", 0},
	CrossOrigin:      {http.StatusForbidden, "Other origins are not allowed", 0},
	NotFound:         {http.StatusNotFound, "Not found", 0},
	MethodNotAllowed: {http.StatusMethodNotAllowed, "The method is not allowed here", 0},
	Timeout:          {http.StatusRequestTimeout, "The request took too long to arrive", 0},
	Released:         {http.StatusGone, "The item is no longer kept", 0},
	Lost:             {http.StatusGone, "The item is lost", 0},
	TooLarge:         {http.StatusRequestEntityTooLarge, "Too large", 0},
	Unsupported:      {http.StatusUnsupportedMediaType, "The format is not supported", 0},
	Misdirected:      {http.StatusMisdirectedRequest, "The host name is not allowed", 0},
	Mismatch:         {http.StatusUnprocessableEntity, "The idempotency key was used with another body", 0},
	Internal:         {http.StatusInternalServerError, "Internal error", 0},
	Busy:             {http.StatusServiceUnavailable, "Too much is being read at once", 1},
	Full:             {http.StatusServiceUnavailable, "There is no room", 1},
	DiskFull:         {http.StatusServiceUnavailable, "The disk is full", 5},
	Stopping:         {http.StatusServiceUnavailable, "The service is stopping", 5},
	Uncertain:        {http.StatusServiceUnavailable, "The outcome is uncertain", 1},
}

// A Problem is an error as the API answers it: application/problem+json, RFC 9457.
type Problem struct {
	Code   Code
	Detail string
	Errors []Position

	challenge string // parameters of the WWW-Authenticate that goes with it, after the realm
}

// A Position is where in the request something is wrong.
type Position struct {
	Line   int    `json:"line,omitempty"`  // the first is 1; 0: the request has no lines, or it is not in one
	Field  string `json:"field,omitempty"` // of the envelope, the event or the filter, or a header; "[2].id" is one of a list's third item
	Detail string `json:"detail"`
}

func (p *Problem) Error() string { return string(p.Code) + ": " + p.Detail }

// Status is the HTTP status that goes with the problem's code.
func (p *Problem) Status() int { return kinds[p.Code].status }

// MarshalJSON gives the members of RFC 9457, and code and errors.
func (p *Problem) MarshalJSON() ([]byte, error) {
	k := kinds[p.Code]
	return json.Marshal(struct {
		Type   string     `json:"type"`
		Title  string     `json:"title"`
		Status int        `json:"status"`
		Detail string     `json:"detail,omitempty"`
		Code   Code       `json:"code"`
		Errors []Position `json:"errors,omitempty"`
	}{"urn:holdfast:problem:" + string(p.Code), k.title, k.status, p.Detail, p.Code, p.Errors})
}

// invalid is a malformed field of the request, or of a line of it.
func invalid(line int, field, format string, args ...any) *Problem {
	return located(Malformed, line, field, fmt.Sprintf(format, args...))
}

func located(code Code, line int, field, detail string) *Problem {
	where := ""
	if line > 0 {
		where = "line " + strconv.Itoa(line) + ": "
	}
	if field != "" {
		where += field + ": "
	}
	return &Problem{Code: code, Detail: where + detail, Errors: []Position{{line, field, detail}}}
}

// refuse answers with the problem that err is.
func (s *Server) refuse(w http.ResponseWriter, err error) {
	p := s.problem(err)
	k := kinds[p.Code]
	if p.Code == Unsupported && len(p.Errors) > 0 && p.Errors[0].Field == "Content-Encoding" {
		w.Header().Set("Accept-Encoding", encodings) // RFC 9110, section 15.5.16
	}
	if k.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(k.retry))
	}
	s.answer(w, cmp.Or(k.status, http.StatusInternalServerError), "application/problem+json", encode(p))
}
