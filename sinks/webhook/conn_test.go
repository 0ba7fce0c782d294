package webhook_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/sinks"
	"holdfast/sinks/sinktest"
	"holdfast/sinks/webhook"
)

func TestBodiesOfEverySizeArriveWhole(t *testing.T) {
	got := make(chan []byte, 1)
	ts := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- b
	}))
	defer ts.Close()
	s := newSink(t, webhook.Options{URL: ts.URL})
	for _, n := range []int{0, 1, 3 << 10, 4 << 10, 4<<10 + 1, 70_000, 3 << 20} {
		body := strings.Repeat("0123456789", n/10+1)[:n]
		if err := s.Deliver(t.Context(), sinktest.Items(body)); err != nil {
			t.Fatal(err)
		}
		if b := <-got; string(b) != body {
			t.Errorf("%d bytes: %d came", n, len(b))
		}
	}
}

// A request is sent from the sink's own buffer: what it allocates does not grow with its body.
func TestLargeRequestsAllocateLittle(t *testing.T) {
	ts := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer ts.Close()
	s := newSink(t, webhook.Options{URL: ts.URL, BatchWithoutIDs: true})
	items := sinktest.Items(strings.Split(strings.Repeat(strings.Repeat("x", 1000)+" ", 256), " ")[:256]...)
	least := uint64(math.MaxUint64) // of several: the sink's buffer is made for the first, and when a pool was emptied
	for range 50 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := s.Deliver(t.Context(), items); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	if least > 24<<10 {
		t.Errorf("a request of 256 KiB allocates %d bytes, with those of the receiver", least)
	}
}

// A receiver is woken once for a request that fits into a packet, not for its head and then for its body.
func TestHeadAndBodyGoTogether(t *testing.T) {
	const requests, size = 30, 5000
	url, gone := accept(t, func(c net.Conn) {
		buf := make([]byte, 64<<10)
		for n := range requests {
			got, err := c.Read(buf)
			if head := bytes.Index(buf[:got], []byte("\r\n\r\n")) + 4; err != nil || got != head+size {
				t.Errorf("request %d: the first read has %d bytes, its head has %d, %v", n, got, head, err)
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	s := newSink(t, webhook.Options{URL: url})
	for range requests {
		if err := s.Deliver(t.Context(), sinktest.Items(strings.Repeat("x", size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	<-gone
}

// A head that is longer than net/http's buffer comes before its body all the same, and one without a body is not kept back.
func TestHeadsOfAllSizesComeFirst(t *testing.T) {
	got := make(chan string, 1)
	ts := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- r.Header.Get("X-Long") + string(b)
	}))
	defer ts.Close()
	for _, n := range []int{1, 4000, 4096, 10_000} {
		s := newSink(t, webhook.Options{URL: ts.URL, Headers: map[string]string{"X-Long": strings.Repeat("h", n)}})
		for _, body := range []string{"body", "", "again"} {
			if err := s.Deliver(t.Context(), sinktest.Items(body)); err != nil {
				t.Fatal(err)
			}
			if g := <-got; g != strings.Repeat("h", n)+body {
				t.Errorf("%d and %q: %d bytes came", n, body, len(g))
			}
		}
	}
}

// A connection that died while it was idle costs no attempt: what was not sent is sent by another.
func TestRequestThatWasNotSentTakesAnotherConnection(t *testing.T) {
	var came atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				for in := bufio.NewReader(c); ; {
					r, err := http.ReadRequest(in)
					if err != nil {
						_, _ = c.Read(make([]byte, 1)) // it does not hang up
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					came.Add(1)
					_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
				}
			})
		}
	})
	s := newSink(t, webhook.Options{URL: "http://" + l.Addr().String()})
	var dialed []net.Conn
	webhook.SetDial(s, func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := webhook.Dial(ctx, network, addr)
		dialed = append(dialed, c)
		return c, err
	})
	for n := range 3 {
		if err := s.Deliver(t.Context(), sinktest.Items("body")); err != nil {
			t.Errorf("delivery %d: %v", n, err)
		}
		if c, ok := dialed[len(dialed)-1].(interface{ CloseWrite() error }); !ok || c.CloseWrite() != nil {
			t.Fatal("it cannot be closed for writing")
		}
	}
	if came.Load() != 3 || len(dialed) != 3 {
		t.Errorf("%d came by %d connections", came.Load(), len(dialed))
	}
	for _, c := range dialed {
		c.Close()
	}
	l.Close()
	serving.Wait()
}

// A receiver that closes a connection while it is idle, just as a request comes, costs no attempt: the request is repeated.
func TestRequestIntoAClosingConnectionIsRepeated(t *testing.T) {
	var came sync.Map
	var n atomic.Int64
	ts := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, again := came.LoadOrStore(r.RemoteAddr, true); again {
			panic(http.ErrAbortHandler) // a second request on a connection
		}
		n.Add(1)
		if _, sent := r.Header["Idempotency-Key"]; sent {
			t.Error("a header that nobody asked for")
		}
	}))
	defer ts.Close()
	s := newSink(t, webhook.Options{URL: ts.URL})
	for i := range 3 {
		if err := s.Deliver(t.Context(), sinktest.Items("body")); err != nil {
			t.Errorf("delivery %d: %v", i, err)
		}
	}
	if n.Load() != 3 {
		t.Errorf("%d came", n.Load())
	}
}

// Who traces requests keeps the trace, and has it alone.
func TestTraceOfTheCallerStays(t *testing.T) {
	ts := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer ts.Close()
	s := newSink(t, webhook.Options{URL: ts.URL})
	var got [2]int
	for i := range got {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { got[i]++ }})
		if err := s.Deliver(ctx, sinktest.Items("x")); err != nil {
			t.Fatal(err)
		}
	}
	if got != [2]int{1, 1} {
		t.Errorf("%v", got)
	}
}

// accept serves one connection to a receiver; gone is closed when it is over.
func accept(t *testing.T, serve func(c net.Conn)) (url string, gone <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	over := make(chan struct{})
	go func() {
		defer close(over)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		serve(c)
	}()
	return "http://" + l.Addr().String(), over
}

// A receiver that answers early and reads no more holds nobody up, and gets nothing of the buffer's next user.
func TestReceiverThatStopsReadingGetsNothingOfTheNextUser(t *testing.T) {
	delivered, rest := make(chan struct{}), []byte(nil)
	url, gone := accept(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		if _, err := http.ReadRequest(in); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
		<-delivered
		rest, _ = io.ReadAll(in) // up to where the sink gave up
	})
	s := newSink(t, webhook.Options{URL: url, Format: sinks.JSON})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	began := time.Now()
	err := s.Deliver(ctx, sinktest.Items(strings.Repeat("a", 30<<20))) // more than sockets hold
	if e, ok := errors.AsType[*sinks.Error](err); !ok || e.Verdict != sinks.PermanentVerdict || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	webhook.Scribble(s, 'X')
	close(delivered)
	if <-gone; bytes.IndexByte(rest, 'X') >= 0 || len(rest) == 0 {
		t.Errorf("of the %d bytes that came, some are of another item", len(rest))
	}
}

// What follows a 101 has no end.
func TestReceiverThatSwitchesProtocolsHoldsNobodyUp(t *testing.T) {
	url, gone := accept(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		_, _ = io.Copy(io.Discard, c) // until the sink hangs up
	})
	s := newSink(t, webhook.Options{URL: url})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Deliver(ctx, sinktest.Items("x")); err == nil || ctx.Err() != nil {
		t.Errorf("%v, %v", err, ctx.Err())
	}
	<-gone
}

// What lends the bytes gets them back only when the connection has taken them.
func TestReleaseWaitsForAWrite(t *testing.T) {
	r, release := webhook.Lend([]byte("abcdef"))
	out, in := io.Pipe()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if n, err := webhook.SendTo(r, in, "head", 4); n != 8 || err != nil {
			t.Errorf("sent %d, %v", n, err)
		}
	}()
	b := make([]byte, 6)
	_, _ = io.ReadFull(out, b) // it is in the middle of its write now
	released := make(chan struct{})
	go func() { release(); close(released) }()
	select {
	case <-released:
		t.Error("released in the middle of a write")
	case <-time.After(50 * time.Millisecond):
	}
	_, _ = io.ReadFull(out, b[:2])
	<-sent
	<-released
	if n, err := webhook.SendTo(r, in, "head", 2); n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("after the release %d were sent, %v", n, err)
	}
}
