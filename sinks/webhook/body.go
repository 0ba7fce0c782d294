package webhook

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
)

// A payload lends the caller's bytes to net/http, and takes them back. A receiver may answer before it has read the
// request; the transport then still reads the body when RoundTrip has returned, and what it reads would be the buffer's
// next user's.
type payload struct {
	mu      sync.Mutex
	data    []byte // nil after release
	readers []*reader
	buffer  *[]byte // that data is in; nil: it is the caller's
	from    *sync.Pool
}

// maxBuffer is how large a buffer is used again. A batch of 1 MiB, as is usual at most, has some more around its items.
const maxBuffer = 4 << 20

// borrow returns an empty buffer for data, which release gives back to the sink.
func (p *payload) borrow(from *sync.Pool) []byte {
	p.from = from
	p.buffer, _ = from.Get().(*[]byte)
	if p.buffer == nil {
		p.buffer = new([]byte)
	}
	return (*p.buffer)[:0]
}

// reader gives the payload from its start, once for each time that the transport sends the request.
func (p *payload) reader() io.ReadCloser {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &reader{p: p, closed: make(chan struct{})}
	p.readers = append(p.readers, r)
	return r
}

// settle waits until the transport is done with all readers, or ctx ends.
func (p *payload) settle(ctx context.Context) {
	p.mu.Lock()
	readers := p.readers
	p.mu.Unlock()
	for _, r := range readers {
		select {
		case <-r.closed:
		case <-ctx.Done():
			return
		}
	}
}

// release takes the bytes back: when it has returned, nobody reads them any more.
func (p *payload) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.buffer != nil && cap(p.data) <= maxBuffer {
		*p.buffer = p.data
		p.from.Put(p.buffer)
	}
	p.data, p.buffer = nil, nil
}

type reader struct {
	p      *payload
	next   int // guarded by p.mu
	once   sync.Once
	closed chan struct{}
}

// Read copies under the lock, so that release waits for it.
func (r *reader) Read(b []byte) (int, error) {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	if r.p.data == nil {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := bytes.NewReader(r.p.data[r.next:]).Read(b)
	r.next += n
	return n, err
}

func (r *reader) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}

// sendTo writes head, and the next n bytes or what there is, in one call, and returns how many it wrote of both. Like Read it
// holds the lock: release then waits until the connection has taken them, or was closed, as net/http does when the request
// ends.
func (r *reader) sendTo(w io.Writer, head []byte, n int64) (int64, error) {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	if r.p.data == nil {
		return 0, io.ErrUnexpectedEOF
	}
	rest := r.p.data[r.next:]
	both := net.Buffers{head, rest[:min(int64(len(rest)), n)]}
	sent, err := both.WriteTo(w)
	r.next += int(max(0, sent-int64(len(head))))
	return sent, err
}
