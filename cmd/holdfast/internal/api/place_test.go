package api

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/queue"
)

// A recorded listener keeps what happens to its connections. Its server is the API's, with the limit that the service has.
type recorded struct {
	net.Listener
	mu       sync.Mutex
	writes   [][]byte   // guarded by mu
	left     []float64  // guarded by mu; seconds to the deadline of each write; 0: it had none
	sessions []*session // guarded by mu
	closed   chan struct{}
}

type recordedConn struct {
	net.Conn
	by    *recorded
	until time.Time
}

func (l *recorded) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &recordedConn{Conn: c, by: l}, err
}

func (c *recordedConn) SetWriteDeadline(t time.Time) error {
	c.until = t
	return c.Conn.SetWriteDeadline(t)
}

func (c *recordedConn) Write(b []byte) (int, error) {
	left := 0.0
	if !c.until.IsZero() {
		left = time.Until(c.until).Seconds()
	}
	c.by.mu.Lock()
	c.by.writes, c.by.left = append(c.by.writes, bytes.Clone(b)), append(c.by.left, left)
	c.by.mu.Unlock()
	return c.Conn.Write(b)
}

// record serves q until the test ends, and dials it once.
func record(t *testing.T, q Queue, o Options) (*recorded, net.Conn) {
	t.Helper()
	s, err := New(q, o)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, srv := &recorded{Listener: inner, closed: make(chan struct{}, 100)}, s.HTTP()
	withContext, onState := srv.ConnContext, srv.ConnState
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		ctx = withContext(ctx, c)
		l.mu.Lock()
		l.sessions = append(l.sessions, ctx.Value(sessionKey{}).(*session))
		l.mu.Unlock()
		return ctx
	}
	srv.ConnState = func(c net.Conn, state http.ConnState) {
		if onState(c, state); state == http.StateClosed {
			l.closed <- struct{}{}
		}
	}
	over := make(chan error, 1)
	go func() { over <- srv.Serve(Limit(l, 10)) }()
	c, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	t.Cleanup(func() {
		_ = c.Close()
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		<-over
	})
	return l, c
}

// post makes a request on a connection, and returns its status.
func post(t *testing.T, c net.Conn, in *bufio.Reader) int {
	t.Helper()
	if _, err := io.WriteString(c, "POST /v1/items HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// A client is not woken for the middle of a chunk, nor for its last two bytes alone.
func TestAnswersOfAStreamAreWrittenInWholeChunks(t *testing.T) {
	l, c := record(t, &fakeQueue{}, Options{})
	lines := strings.Repeat("x\n", 1000) // more than are gathered at once
	fmt.Fprintf(c, "POST /v1/stream HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(lines), lines)
	all, err := io.ReadAll(c)
	if err != nil || bytes.Count(all, []byte(`"receipt":`)) != 1000 {
		t.Fatalf("%d answers, %v", bytes.Count(all, []byte(`"receipt":`)), err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !bytes.Equal(bytes.Join(l.writes, nil), all) {
		t.Error("what came is not what was written")
	}
	for i, b := range l.writes[1:] {
		size := 0
		if _, err := fmt.Sscanf(string(b), "%x\r\n", &size); err != nil || !bytes.HasSuffix(b, []byte("\r\n")) {
			t.Errorf("write %d has %d bytes, and is no chunk: %.20q…", i+1, len(b), b)
		}
	}
}

// Nobody who does not read holds a connection for ever, whatever came before on it: net/http lifts the deadline each time.
func TestEveryAnswerHasItsDeadline(t *testing.T) {
	l, c := record(t, &fakeQueue{}, Options{})
	in := bufio.NewReader(c)
	for range 3 {
		if status := post(t, c, in); status != 202 {
			t.Errorf("status %d", status)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.left) != 3 {
		t.Errorf("%d writes", len(l.left))
	}
	for i, left := range l.left {
		if left < 55 || left > 65 {
			t.Errorf("write %d has %.1f s", i, left)
		}
	}
}

// Who sends lines and takes no answers is not served for ever.
func TestStreamWhoseAnswersNobodyTakesEnds(t *testing.T) {
	l, c := record(t, &fakeQueue{}, Options{StreamIdle: 200 * time.Millisecond})
	_ = c.SetWriteDeadline(time.Now().Add(30 * time.Second))
	lines := strings.Repeat("x\n", 1000)
	_, err := io.WriteString(c, "POST /v1/stream HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
	for n := 0; err == nil && n < 100_000; n++ { // more than sockets hold
		_, err = fmt.Fprintf(c, "%x\r\n%s\r\n", len(lines), lines)
	}
	if e, ok := errors.AsType[net.Error](err); err == nil || ok && e.Timeout() {
		t.Fatalf("it takes all of them: %v", err)
	}
	<-l.closed
}

// After a write that failed nothing follows: an end would pass for the end of the whole.
func TestPlaceWritesNothingAfterWhatItCouldNotSend(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	p := &place{Conn: here, leave: func() {}}
	defer p.Close()
	p.gather()
	if n, err := p.Write([]byte("abc")); n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	_ = p.SetWriteDeadline(time.Unix(1, 0))
	first := p.send()
	if first == nil {
		t.Fatal("no error")
	}
	_ = p.SetWriteDeadline(time.Time{})
	if n, err := p.Write([]byte("0\r\n\r\n")); n != 0 || !errors.Is(err, first) {
		t.Errorf("%d, %v", n, err)
	}
	p.gather()
	if _, err := p.Write([]byte("0\r\n\r\n")); !errors.Is(err, first) || !errors.Is(p.send(), first) {
		t.Errorf("%v", err)
	}
}

// With TLS others write to the connection too, whenever they have to: nothing is gathered below it.
func TestPlaceBelowTLSGathersNothing(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	p := &place{Conn: here, leave: func() {}}
	defer p.Close()
	s, _ := withSession(context.Background(), tls.Server(p, &tls.Config{})).Value(sessionKey{}).(*session)
	if s == nil || s.place != nil || p.session != s {
		t.Errorf("%+v, and the place has %p", s, p.session)
	}
	if s, _ = withSession(context.Background(), p).Value(sessionKey{}).(*session); s.place != p {
		t.Error("without TLS neither")
	}
}

// What a connection keeps of one request is not in the way of the next: each has all of its time. When it has closed, it leaves
// no timer behind.
func TestRequestAfterOneThatTookTooLongHasItsTime(t *testing.T) {
	hang := make(chan bool, 1)
	q := &fakeQueue{wait: func(ctx context.Context, _ int) error {
		if ctx.Err() != nil {
			t.Error("its time was over before it began")
		}
		if <-hang {
			<-ctx.Done()
			return queue.ErrUncertain
		}
		return nil
	}}
	l, c := record(t, q, Options{AcceptTimeout: 50 * time.Millisecond})
	in := bufio.NewReader(c)
	for range 3 {
		hang <- true
		if status := post(t, c, in); status != 503 {
			t.Errorf("status %d", status)
		}
		hang <- false
		if status := post(t, c, in); status != 202 {
			t.Errorf("status %d", status)
		}
	}
	_ = c.Close()
	<-l.closed
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sessions) != 1 || l.sessions[0].patience == nil || l.sessions[0].patience.timer.Stop() {
		t.Errorf("%d connections; or the timer goes on", len(l.sessions))
	}
}
