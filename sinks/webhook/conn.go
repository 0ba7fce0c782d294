package webhook

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http/httptrace"
	"time"
)

// A conn sends a request in one call: its head, and the payload from where it is. By way of net/http's buffers, one of which
// is made for each request, a service with three sinks needed a tenth more CPU for batches of 256 items; and its receivers
// were woken twice for each, as net/http sends the head of a body that it does not have in memory by itself. The transport
// lets one goroutine write at a time.
type conn struct {
	*net.TCPConn
	reused bool   // it had a request before the one that has it
	holds  bool   // that one has a body, and its head is not sent yet
	head   []byte // so far
}

func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	c, err := d.DialContext(ctx, network, addr)
	if tcp, ok := c.(*net.TCPConn); ok {
		return &conn{TCPConn: tcp}, err
	}
	return c, err
}

// withBody is ctx for a request that has a body: its connection keeps the head back for that.
func withBody(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: holdHead})
}

func holdHead(got httptrace.GotConnInfo) {
	if c, ok := got.Conn.(*conn); ok { // with TLS it is another's
		c.reused, c.holds, c.head = got.Reused, true, c.head[:0]
	}
}

// Write takes the head of a request that has a body; anything else is sent.
func (c *conn) Write(b []byte) (int, error) {
	if !c.holds {
		return c.TCPConn.Write(b)
	}
	c.head = append(c.head, b...)
	return len(b), nil
}

// ReadFrom is what net/http sends a body with. It limits the reader to the length that it has announced. Errors: an
// unsentError, if nothing at all was sent on a connection that had been idle.
func (c *conn) ReadFrom(src io.Reader) (int64, error) {
	var head []byte
	if c.holds {
		head, c.holds = c.head, false
	}
	if l, ok := src.(*io.LimitedReader); ok {
		if r, ok := l.R.(*reader); ok {
			n, err := r.sendTo(c.TCPConn, head, l.N)
			if err != nil && n == 0 && c.reused {
				err = unsentError{err}
			}
			n = max(0, n-int64(len(head)))
			l.N -= n
			return n, err
		}
	}
	if _, err := c.TCPConn.Write(head); err != nil {
		return 0, err
	}
	return c.TCPConn.ReadFrom(src)
}

// An unsentError is why a request was not sent, not a byte of it. net/http takes its head for sent, and does not try another
// connection by itself.
type unsentError struct{ error }

func (e unsentError) Unwrap() error { return e.error }

func unsent(err error) bool {
	_, is := errors.AsType[unsentError](err)
	return is
}
