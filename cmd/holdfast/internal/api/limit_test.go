package api

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

func TestClientsBeyondTheLimitWaitForAPlace(t *testing.T) {
	inner, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Limit(inner, 2)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	ask := func(c net.Conn, patience time.Duration) error {
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			return err
		}
		response, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil && response.StatusCode != http.StatusNoContent {
			err = fmt.Errorf("status %d", response.StatusCode)
		}
		return err
	}
	var all []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		all = append(all, c)
	}
	for i, c := range all[:2] {
		if err := ask(c, 10*time.Second); err != nil {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	if e, ok := errors.AsType[net.Error](ask(all[2], 50*time.Millisecond)); !ok || !e.Timeout() {
		t.Errorf("the third is not held: %v", e)
	}
	all[0].Close()
	_ = all[2].SetDeadline(time.Now().Add(10 * time.Second))
	if response, err := http.ReadResponse(bufio.NewReader(all[2]), nil); err != nil || response.StatusCode != http.StatusNoContent {
		t.Errorf("when one has gone, the third: %v", err)
	}
	s.Close()
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

func TestLimitedListenerThatIsFullCanBeClosed(t *testing.T) {
	inner, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Limit(inner, 0)
	ended := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	l.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	l.Close()
}
