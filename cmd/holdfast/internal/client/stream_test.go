package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"holdfast/cmd/holdfast/internal/client"
	"holdfast/cmd/holdfast/internal/client/clienttest"
)

func open(t *testing.T, s *clienttest.Server, opts client.StreamOptions) *client.Stream {
	t.Helper()
	st, err := newClient(t, s.URL).OpenStream(context.WithoutCancel(t.Context()), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close(client.ErrStreamClosed) })
	return st
}

// sendAll sends lines 1 to n in a goroutine of its own and closes for sending.
func sendAll(st *client.Stream, n int) chan error {
	sent := make(chan error, 1)
	go func() {
		defer st.CloseSend()
		for i := 1; i <= n; i++ {
			if err := st.Send(client.Origin{Line: i}, fmt.Appendf(nil, "line %d", i)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	return sent
}

// drain receives until the end and returns how many answers came.
func drain(st *client.Stream) (int, error) {
	for n := 0; ; n++ {
		a, err := st.Recv()
		if err != nil {
			return n, err
		}
		if a.Origin.Line != n+1 {
			return n, fmt.Errorf("answer %d for %+v", n+1, a.Origin)
		}
	}
}

// A client in lock-step would hang: the server answers no line before it has
// a whole window. One that sends everything first would hang on the answers,
// which are larger than any socket's buffer.
func TestLinesAndAnswersPassEachOtherOnOneConnection(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	s.Stream.Lag = client.Window
	s.Stream.Pad = 2000
	st := open(t, s, client.StreamOptions{})
	sent := sendAll(st, 10_000)
	if n, err := drain(st); n != 10_000 || err != io.EOF {
		t.Errorf("%d answers, %v", n, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestNoMoreThanAWindowIsUnderWay(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	full := make(chan struct{})
	s.Stream.Lag = 2 * client.Window
	s.Stream.Arrived = func(n int) {
		if n == client.Window {
			close(full)
		}
	}
	st := open(t, s, client.StreamOptions{})
	sent := sendAll(st, 2*client.Window-1)
	<-full
	st.CloseSend()
	if err := <-sent; err != client.ErrStreamClosed {
		t.Errorf("a window and more were sent: %v", err)
	}
	if n, err := drain(st); n != client.Window || err != io.EOF {
		t.Errorf("%d answers, %v", n, err)
	}
}

func TestABrokenStreamTellsWhatIsKnown(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*clienttest.Server){
		"reset":    func(s *clienttest.Server) { s.Stream.DieAfter = 700 },
		"hung up":  func(s *clienttest.Server) { s.Stream.EndAfter = 700 },
		"too long": func(s *clienttest.Server) { s.Stream.Refuse = refuseAt(700, 413) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := clienttest.New(t)
			set(s)
			st := open(t, s, client.StreamOptions{})
			sent := sendAll(st, 5000)
			n, err := drain(st)
			b, ok := errors.AsType[*client.BrokenError](err)
			if !ok || b.Answered != n || n > 700 {
				t.Fatalf("%d answers, %#v", n, err)
			}
			if name != "reset" != b.Ended {
				t.Errorf("ended in good order: %v", b.Ended)
			}
			if name != "reset" && n != 700 { // a reset takes what was not read yet with it
				t.Errorf("%d answers", n)
			}
			if err := <-sent; err != client.ErrStreamClosed {
				t.Errorf("sending went on: %v", err)
			}
		})
	}
}

func refuseAt(at, status int) func(int, string) clienttest.JSON {
	return func(n int, _ string) clienttest.JSON {
		if n != at {
			return nil
		}
		return clienttest.Problem(status, "refused", "not this one")
	}
}

// The server hangs up in good order, all that was sent has its answer, but the
// sender had more: that is no success.
func TestAnEarlyEndIsNotTheEnd(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	s.Stream.EndAfter = 1
	st := open(t, s, client.StreamOptions{})
	st.Send(client.Origin{Line: 1}, []byte("one"))
	st.Flush()
	n, err := drain(st)
	if b, ok := errors.AsType[*client.BrokenError](err); n != 1 || !ok || b.Pending != 0 {
		t.Errorf("%d answers, %v", n, err)
	}
	if err := st.Send(client.Origin{Line: 2}, []byte("two")); err != client.ErrStreamClosed {
		t.Errorf("got %v", err)
	}
}

// All was sent and the sending end is closed, but not all was answered.
func TestAHangUpWithLinesUnansweredIsNoSuccess(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	s.Stream.Lag = 10
	s.Stream.EndAfter = 2
	st := open(t, s, client.StreamOptions{})
	sendAll(st, 3)
	n, err := drain(st)
	if b, ok := errors.AsType[*client.BrokenError](err); n != 2 || !ok || b.Pending != 1 {
		t.Errorf("%d answers, %v", n, err)
	}
}

func TestARefusedStreamSendsNothing(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	s.Stream.Head = clienttest.Problem(503, "stopping", "the server is stopping")
	_, err := newClient(t, s.URL).OpenStream(t.Context(), client.StreamOptions{})
	if p, ok := errors.AsType[*client.Problem](err); !ok || p.Code != "stopping" || p.Status != 503 {
		t.Errorf("got %v", err)
	}
	if n := len(s.Puts()); n != 0 {
		t.Errorf("%d lines came", n)
	}
}

func TestAnswersThatMakeNoSenseEndTheStream(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"line":3,"receipt":{"id":"x"}}`, `{"line":2}`, `no json`, `{"line":1,"receipt":{"id":"x"}}`,
	} {
		s := clienttest.New(t)
		s.Stream.Garble = func(n int) string {
			if n == 2 {
				return text
			}
			return ""
		}
		st := open(t, s, client.StreamOptions{})
		sendAll(st, 3)
		n, err := drain(st)
		if _, ok := errors.AsType[*client.ForeignError](err); n != 1 || !ok {
			t.Errorf("%s: %d answers, %v", text, n, err)
		}
	}
}

// answers serves one connection: it reads a request's head, writes answer and then
// reads on, or hangs up at once.
func answers(t *testing.T, answer string, hangUp bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			t.Error(err)
		}
		io.WriteString(c, answer)
		if !hangUp {
			io.Copy(io.Discard, c)
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return "http://" + l.Addr().String()
}

const refusal = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nContent-Length: 20\r\n"

// No line was sent yet, so that nothing but the answer itself can end the opening.
func TestAStreamThatIsRefusedUpFrontEndsAtOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer string
		hangUp bool
	}{
		"kept open": {refusal + "\r\n{\"code\":\"malformed\"}", false},
		"closed":    {refusal + "Connection: close\r\n\r\n{\"code\":\"malformed\"}", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := newClient(t, answers(t, c.answer, c.hangUp)).OpenStream(t.Context(), client.StreamOptions{})
			if p, ok := errors.AsType[*client.Problem](err); !ok || p.Code != "malformed" {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestOpeningAStreamCanBeInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := newClient(t, answers(t, "", false)).OpenStream(ctx, client.StreamOptions{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestOpeningAStreamIsBoundedByTheTimeout(t *testing.T) {
	t.Parallel()
	for name, hangUp := range map[string]bool{"silent": false, "hung up": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := client.New(answers(t, "", hangUp), client.Options{Timeout: 50 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.OpenStream(t.Context(), client.StreamOptions{})
			if u, ok := errors.AsType[*client.UnreachableError](err); !ok || !u.Dialed {
				t.Errorf("got %v", err)
			}
		})
	}
}
