package api

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// A listener of recorded connections keeps what was written to them, by write.
type recorded struct {
	net.Listener
	mu     sync.Mutex
	writes [][]byte // guarded by mu
}

type recordedConn struct {
	net.Conn
	by *recorded
}

func (l *recorded) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return recordedConn{c, l}, err
}

func (c recordedConn) Write(b []byte) (int, error) {
	c.by.mu.Lock()
	c.by.writes = append(c.by.writes, bytes.Clone(b))
	c.by.mu.Unlock()
	return c.Conn.Write(b)
}

// A client is not woken for the middle of a chunk, nor for its last two bytes alone.
func TestAnswersOfAStreamAreWrittenInWholeChunks(t *testing.T) {
	s, err := New(&fakeQueue{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	inner, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, srv := &recorded{Listener: inner}, s.HTTP()
	over := make(chan error, 1)
	go func() { over <- srv.Serve(Limit(l, 1)) }()
	c, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Repeat("x\n", 1000) // more than are gathered at once
	fmt.Fprintf(c, "POST /v1/stream HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(lines), lines)
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	all, err := io.ReadAll(c)
	if err != nil || bytes.Count(all, []byte(`"receipt":`)) != 1000 {
		t.Fatalf("%d answers, %v", bytes.Count(all, []byte(`"receipt":`)), err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	<-over
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

// The error of a write that was put off is not lost.
func TestPlaceTellsWhyWhatItGatheredWasNotSent(t *testing.T) {
	here, there := net.Pipe()
	there.Close()
	p := &place{Conn: here, leave: func() {}}
	p.gather()
	if n, err := p.Write([]byte("abc")); n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := p.send(); err == nil {
		t.Error("no error")
	}
	if err := p.send(); err != nil || p.Close() != nil {
		t.Error("it gathers still", err)
	}
}
