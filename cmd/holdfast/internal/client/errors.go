package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// errNoAnswer is the cause of a request that ran into Options.Timeout.
var errNoAnswer = errors.New("the time limit passed")

// UnreachableError says that no answer came: no connection, a reset, a time limit.
type UnreachableError struct {
	Server string // the address as the user gave it
	Err    error
	// Dialed is set if there may have been a connection: a server is there,
	// but it gave no whole answer.
	Dialed bool
	// Asked is set if, besides, the request changes something: the server may
	// have carried it out all the same.
	Asked bool
}

func (e *UnreachableError) Error() string {
	s := fmt.Sprintf("cannot reach a server at %s: %v", e.Server, e.Err)
	if e.Dialed {
		s = fmt.Sprintf("no answer from %s: %v", e.Server, e.Err)
	}
	if e.Asked {
		s += " (it may have carried the request out)"
	}
	return s
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// ForeignError says that the answer is not one holdfast gives.
type ForeignError struct {
	Server string
	Status int    // the HTTP status
	Detail string // what is known beyond Err, may be empty
	Err    error  // why it was not understood, may be nil
}

func (e *ForeignError) Error() string {
	s := fmt.Sprintf("%s answered %d, not as a holdfast server does", e.Server, e.Status)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *ForeignError) Unwrap() error { return e.Err }

// NameError is the caller's: a sink or an id that cannot be in a URL's path.
type NameError struct{ Name string }

func (e *NameError) Error() string { return fmt.Sprintf("%q is neither a name nor an id", e.Name) }

// BrokenError says that a stream ended before every line that was sent had
// its answer. Answered lines stand: their receipts were durable.
type BrokenError struct {
	Server   string
	Answered int   // lines that have their answer
	Pending  int   // lines sent without an answer: accepted or not, nobody knows, unless Ended
	Ended    bool  // the server ended it in good order: it has answered all that it took
	Err      error // how it ended
}

func (e *BrokenError) Error() string {
	return "the server at " + e.Server + " went away"
}

func (e *BrokenError) Unwrap() error { return e.Err }

// Problem is a problem+json document (RFC 9457): the server refused.
type Problem struct {
	Type   string     `json:"type"`
	Title  string     `json:"title"`
	Status int        `json:"status"`
	Detail string     `json:"detail"`
	Code   string     `json:"code"` // stable, for programs
	Errors []Position `json:"errors"`
}

// Position says where in the input one of a Problem's errors is. Which
// fields are there depends on the input; all may be absent.
type Position struct {
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Field   string `json:"field"`
	Pointer string `json:"pointer"` // a JSON pointer
	Detail  string `json:"detail"`
}

func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Summary())
	for _, at := range p.Errors {
		b.WriteString("\n  " + at.String())
	}
	return b.String()
}

// Summary is the problem in one line, without its positions.
func (p *Problem) Summary() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	if text == "" {
		text = fmt.Sprintf("refused with status %d", p.Status)
	}
	if p.Code != "" {
		text += " (" + p.Code + ")"
	}
	return text
}

// String is the position and what is wrong there, as in "line 3, key: too long".
func (at Position) String() string {
	var where []string
	if at.Line > 0 {
		where = append(where, fmt.Sprintf("line %d", at.Line))
	}
	if at.Column > 0 {
		where = append(where, fmt.Sprintf("column %d", at.Column))
	}
	if at.Field != "" {
		where = append(where, at.Field)
	}
	if at.Pointer != "" {
		where = append(where, at.Pointer)
	}
	if len(where) == 0 {
		return at.Detail
	}
	return strings.Join(where, ", ") + ": " + at.Detail
}

// refusal turns an answer that is not 2xx into its error.
func (c *Client) refusal(resp *http.Response) error {
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return &ForeignError{Server: c.server, Status: resp.StatusCode,
			Detail: "it points to " + resp.Header.Get("Location") + "; name that address with --server if it is the right one"}
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind != "application/problem+json" {
		return &ForeignError{Server: c.server, Status: resp.StatusCode}
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return &ForeignError{Server: c.server, Status: resp.StatusCode, Err: err}
	}
	p := new(Problem)
	if err := lenient(b, p); err != nil {
		return &ForeignError{Server: c.server, Status: resp.StatusCode, Err: err}
	}
	p.Status = resp.StatusCode
	return p
}

// unreachable tells a transport's error; the caller's own cancel stays what it is.
func (c *Client) unreachable(req *http.Request, err error) error {
	ctx := req.Context()
	cause := context.Cause(ctx)
	if ctx.Err() != nil && !errors.Is(cause, errNoAnswer) {
		return fmt.Errorf("%s %s: %w", req.Method, c.server, cause)
	}
	if ctx.Err() != nil {
		err = cause
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	op, ok := errors.AsType[*net.OpError](err)
	dialed := !ok || op.Op != "dial"
	return &UnreachableError{Server: c.server, Err: err, Dialed: dialed, Asked: dialed && req.Method != http.MethodGet}
}

// lenient decodes what it can: a field of an unexpected kind is skipped.
func lenient(b []byte, out any) error {
	err := json.Unmarshal(b, out)
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && len(b) > 0 && b[0] == '{' {
		return nil
	}
	return err
}
