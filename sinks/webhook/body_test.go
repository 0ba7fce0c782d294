package webhook_test

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/sinks"
	"holdfast/sinks/sinktest"
	"holdfast/sinks/webhook"
)

// A slowConn is a connection that the receiver has answered early: it gives the answer once there is a request, and its
// writes do not come back, not even by Close, before the test says so.
type slowConn struct {
	answer  *strings.Reader
	asked   chan struct{} // closed at the first write
	release chan struct{}
	closed  chan struct{}
	sent    bytes.Buffer // owned by the transport's writer, until that has ended
	first   bool
}

func (c *slowConn) Write(b []byte) (int, error) {
	if !c.first {
		c.first = true
		close(c.asked)
	}
	<-c.release
	return c.sent.Write(b)
}

func (c *slowConn) Read(b []byte) (int, error) {
	<-c.asked
	if c.answer.Len() > 0 {
		return c.answer.Read(b)
	}
	<-c.closed
	return 0, net.ErrClosed
}

func (c *slowConn) Close() error {
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return nil
}

func (c *slowConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *slowConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *slowConn) SetDeadline(time.Time) error      { return nil }
func (c *slowConn) SetReadDeadline(time.Time) error  { return nil }
func (c *slowConn) SetWriteDeadline(time.Time) error { return nil }

// The transport goes on with the body when Deliver has returned; what it reads then must not be the buffer's next user's.
func TestTransportThatWritesOnGetsNothingOfTheNextUser(t *testing.T) {
	for name, answer := range map[string]string{
		"refused":         "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
		"busy":            "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		"taken, too late": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	} {
		for _, format := range []sinks.Format{sinks.Raw, sinks.JSON} { // the item's own bytes, and a buffer of the sink
			t.Run(name+", "+string(format), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { writesOn(t, answer, format) })
			})
		}
	}
}

func writesOn(t *testing.T, answer string, format sinks.Format) {
	s := newSink(t, webhook.Options{URL: "http://127.0.0.1/", Format: format})
	c := &slowConn{answer: strings.NewReader(answer), asked: make(chan struct{}), release: make(chan struct{}), closed: make(chan struct{})}
	webhook.SetDial(s, func(context.Context, string, string) (net.Conn, error) { return c, nil })
	items := sinktest.Items(strings.Repeat("a", 1<<20))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := s.Deliver(ctx, items)
	for i := range items[0].Body {
		items[0].Body[i] = 'X'
	}
	webhook.Scribble(s, 'X')
	close(c.release)
	synctest.Wait()
	_, body, _ := bytes.Cut(c.sent.Bytes(), []byte("\r\n\r\n"))
	if bytes.IndexByte(body, 'X') >= 0 {
		t.Errorf("deliver: %v; of the %d bytes after it, some are of another item", err, len(body))
	}
}
