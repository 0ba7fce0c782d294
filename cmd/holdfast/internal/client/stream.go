package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Window is how many lines may be under way without an answer.
const Window = 1024

// maxAnswerLine bounds one answer of a stream, in bytes.
const maxAnswerLine = 4 << 20

// ErrStreamClosed is what Send returns when the stream takes no more lines:
// it was closed for sending, or it ended. Recv knows why.
var ErrStreamClosed = errors.New("the stream takes no more lines")

// StreamOptions says what the lines of a stream are.
type StreamOptions struct {
	Meta      Meta          // for every line, unless Envelopes
	Envelopes bool          // each line is an envelope; else its bytes are the body
	Wait      time.Duration // > 0: an answer comes when the item's ack-join is through, or this much later
}

// Origin is where a line came from, for messages.
type Origin struct {
	Name string // a file, or - for standard input
	Line int    // counts its lines from 1; 0 if the item is the whole file
	Size int    // bytes read for it
}

// Answer is what the server said to one line: a receipt, the item's state if
// the join was asked for, or a problem, which means that it is not stored.
type Answer struct {
	Line    int             `json:"line"` // counts the lines sent, from 1
	Receipt *Doc[Receipt]   `json:"receipt,omitempty"`
	Item    *Doc[ItemState] `json:"item,omitempty"`
	Problem *Doc[Problem]   `json:"problem,omitempty"`
	Origin  Origin          `json:"-"` // as it was given to Send
}

// Stream is POST /v1/stream: lines out and answers back on one connection.
// Send and Flush are for one goroutine, Recv for another; CloseSend and
// Close may be called from any.
type Stream struct {
	client *Client
	cancel context.CancelCauseFunc
	resp   *http.Response
	in     *bufio.Reader // owned by Recv's goroutine
	got    int           // answers so far; owned by Recv's goroutine
	pipe   *io.PipeWriter

	underway  chan Origin   // capacity Window; a line is in it from Send to Recv
	ended     chan struct{} // closed when no answer will come any more
	endOnce   sync.Once
	closing   chan struct{} // closed by CloseSend
	closeOnce sync.Once

	mu  sync.Mutex
	out *bufio.Writer // guarded by mu
}

// OpenStream connects and returns when the server has agreed to the stream;
// a refusal is a *Problem and nothing was sent. ctx holds for the stream's
// whole life. Close releases it.
func (c *Client) OpenStream(ctx context.Context, opts StreamOptions) (*Stream, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	r, w := io.Pipe()
	// A reader of the pipe wakes by its end alone, and Do waits for the one that
	// sends the body, even after the connection is gone.
	context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
	req, err := c.request(ctx, http.MethodPost, r, "v1", "stream")
	if err != nil {
		cancel(err)
		return nil, err
	}
	req.Close = true // it is the connection's last: whatever a server sends after it is nobody's
	req.Header.Set("Content-Type", "application/vnd.holdfast.items+ndjson")
	if !opts.Envelopes {
		req.Header = opts.Meta.Header()
		req.Header.Set("Content-Type", "application/x-ndjson")
	}
	prefer(req, opts.Wait)
	resp, err := c.sendHead(req, cancel)
	if err != nil {
		cancel(err)
		return nil, err
	}
	return &Stream{
		client: c, cancel: cancel, resp: resp, pipe: w,
		in:       bufio.NewReaderSize(resp.Body, 64<<10),
		out:      bufio.NewWriterSize(w, 32<<10),
		underway: make(chan Origin, Window),
		ended:    make(chan struct{}),
		closing:  make(chan struct{}),
	}, nil
}

// Send hands one line over, without its LF; it must not be empty or hold an
// LF, and is the caller's again on return. It blocks while Window lines are
// under way or the server does not read. nil means nothing yet: Flush pushes
// it out, Recv brings its answer. The only error is ErrStreamClosed.
func (s *Stream) Send(from Origin, line []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if isClosed(s.closing) || isClosed(s.ended) {
		return ErrStreamClosed
	}
	select {
	case s.underway <- from:
	default:
		// The answers that make room can only come for lines that are out.
		if s.out.Flush() != nil {
			return ErrStreamClosed
		}
		select {
		case s.underway <- from:
		case <-s.ended:
			return ErrStreamClosed
		case <-s.closing:
			return ErrStreamClosed
		}
	}
	s.out.Write(line)
	if s.out.WriteByte('\n') != nil {
		return ErrStreamClosed
	}
	return nil
}

// Flush pushes out what Send has gathered.
func (s *Stream) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out.Flush() != nil {
		return ErrStreamClosed
	}
	return nil
}

// CloseSend says that no more lines come, after those that Send has taken.
// Recv goes on until their answers are there. It may block as Send does.
func (s *Stream) CloseSend() {
	s.closeOnce.Do(func() { close(s.closing) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.Flush() // an error means the stream broke: Recv tells
	s.pipe.Close()
}

// Recv returns the next answer, in the order of Send. It returns io.EOF when
// CloseSend was called and every line has its answer; any other error ends the
// stream: *BrokenError, or *ForeignError if the answers make no sense.
func (s *Stream) Recv() (Answer, error) {
	b, err := ReadLine(s.in, maxAnswerLine)
	if err != nil {
		done := isClosed(s.closing)
		s.end()
		if err == io.EOF && done && len(s.underway) == 0 {
			return Answer{}, io.EOF
		}
		broken := s.broken(err)
		broken.Ended = err == io.EOF
		if cause := context.Cause(s.resp.Request.Context()); cause != nil {
			broken.Err, broken.Ended = cause, false
		}
		return Answer{}, broken
	}
	var a Answer
	if err := json.Unmarshal(b, &a); err != nil {
		return Answer{}, s.garbled(err, b)
	}
	if err := s.match(&a); err != nil {
		return Answer{}, s.garbled(err, nil)
	}
	return a, nil
}

// match checks that a answers the oldest line under way, and takes that out.
func (s *Stream) match(a *Answer) error {
	if a.Receipt == nil && a.Item == nil && a.Problem == nil {
		return fmt.Errorf("the answer to line %d is none of receipt, item, problem", a.Line)
	}
	if a.Receipt != nil {
		if err := whole(a.Receipt); err != nil {
			return err
		}
	}
	if a.Item != nil {
		if err := whole(a.Item); err != nil {
			return err
		}
	}
	if a.Line != s.got+1 {
		return fmt.Errorf("an answer to line %d where line %d's was due", a.Line, s.got+1)
	}
	select {
	case a.Origin = <-s.underway:
		s.got++
		return nil
	default:
		return fmt.Errorf("an answer to line %d, which was not sent", a.Line)
	}
}

// garbled ends the stream over an answer that makes no sense. One that was cut
// off in the middle is a broken stream.
func (s *Stream) garbled(err error, line []byte) error {
	if _, next := s.in.Peek(1); line != nil && next != nil {
		s.end()
		return s.broken(io.ErrUnexpectedEOF)
	}
	s.end()
	return &ForeignError{Server: s.client.server, Status: s.resp.StatusCode, Err: err}
}

func (s *Stream) broken(err error) *BrokenError {
	return &BrokenError{Server: s.client.server, Answered: s.got, Pending: len(s.underway), Err: err}
}

// end wakes a blocked Send: no answer will come any more.
func (s *Stream) end() {
	s.endOnce.Do(func() { close(s.ended) })
	s.pipe.CloseWithError(ErrStreamClosed)
}

// Underway is how many lines were given to Send and have no answer yet. Any
// goroutine may ask.
func (s *Stream) Underway() int { return len(s.underway) }

// Close ends the stream at once and releases the connection. Lines without
// an answer may or may not be accepted; why is what Recv then tells.
func (s *Stream) Close(why error) {
	s.cancel(why)
	s.end()
	s.resp.Body.Close()
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
