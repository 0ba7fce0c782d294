package webhook

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// For tests: the pure parts.
var (
	Classify   = classify
	RetryAfter = retryAfter
	Reason     = reason
	MessageID  = messageID
	Percent    = percentEncode
)

// SetNow makes s take its time from now.
func SetNow(s *Sink, now func() time.Time) { s.now = now }

// SetDial makes s get its connections from dial.
func SetDial(s *Sink, dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	s.transport.DialContext = dial
}

// Dial is how a sink gets its connections.
var Dial = dial

// Sign signs a message that is not an item.
func (s Signing) Sign(id string, now time.Time, body []byte) http.Header {
	h := http.Header{}
	s.sign(h, id, now, body)
	return h
}

// Lend gives a reader of data as the transport gets it, and what takes data back.
func Lend(data []byte) (r io.ReadCloser, release func()) {
	p := &payload{data: data}
	return p.reader(), p.release
}

// Scribble overwrites the buffers that s would use next.
func Scribble(s *Sink, with byte) {
	for b, _ := s.buffers.Get().(*[]byte); b != nil; b, _ = s.buffers.Get().(*[]byte) {
		for i := range (*b)[:cap(*b)] {
			(*b)[:cap(*b)][i] = with
		}
	}
}

// SendTo sends head and up to n bytes of what Lend lent, as a connection does.
func SendTo(r io.ReadCloser, w io.Writer, head string, n int64) (int64, error) {
	return r.(*reader).sendTo(w, []byte(head), n)
}
