package harness

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Receiver is where all webhooks go: it counts their items and answers 204. The path of a request is the number of its
// sink.
type Receiver struct {
	ln    net.Listener
	tally *Tally
	delay []atomic.Int64 // of each answer, by sink, in ns
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]bool // guarded by mu; nil once closed
}

// NewReceiver listens on a port of its own, for the sinks of a tally.
func NewReceiver(t *Tally) (*Receiver, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Receiver{ln: ln, tally: t, delay: make([]atomic.Int64, len(t.sinks)), conns: map[net.Conn]bool{}}
	r.wg.Go(r.accept)
	return r, nil
}

// Slow makes every answer to a sink take that long from now on.
func (r *Receiver) Slow(sink int, by time.Duration) { r.delay[sink].Store(int64(by)) }

// URL is where a sink's items go.
func (r *Receiver) URL(sink int) string {
	return "http://" + r.ln.Addr().String() + "/" + strconv.Itoa(sink)
}

// Close cuts all connections, and returns when nothing more is counted.
func (r *Receiver) Close() {
	r.ln.Close()
	r.mu.Lock()
	for c := range r.conns {
		c.Close()
	}
	r.conns = nil
	r.mu.Unlock()
	r.wg.Wait()
}

func (r *Receiver) accept() {
	for {
		c, err := r.ln.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		if r.conns == nil {
			c.Close()
		} else {
			r.conns[c] = true
			r.wg.Go(func() {
				r.serve(c) // an error is the end of the connection: the sink tries again
				c.Close()
			})
		}
		r.mu.Unlock()
	}
}

func (r *Receiver) serve(c net.Conn) error {
	in := bufio.NewReaderSize(c, 256<<10)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return err
		}
		sink, err := strconv.Atoi(strings.TrimPrefix(req.URL.Path, "/"))
		if err != nil || sink < 0 || sink >= len(r.tally.sinks) {
			return errors.New("no such sink")
		}
		body, taken, err := bodyOf(req, in)
		if err != nil {
			return err
		}
		if d := r.delay[sink].Load(); d > 0 {
			time.Sleep(time.Duration(d)) // the destination is slow
		}
		r.tally.Scan(sink, body)
		if _, err := in.Discard(taken); err != nil {
			return err
		}
		if _, err := io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n"); err != nil {
			return err
		}
	}
}

// bodyOf is a request's whole body: where in has it, if it fits there, and then so much is to be taken from in afterwards.
func bodyOf(req *http.Request, in *bufio.Reader) (body []byte, taken int, err error) {
	if n := req.ContentLength; 0 <= n && n <= int64(in.Size()) {
		body, err = in.Peek(int(n))
		return body, int(n), err
	}
	body, err = io.ReadAll(req.Body)
	return body, 0, err
}
