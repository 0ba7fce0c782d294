package api

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/queue"
)

// answerOf reads what comes on a connection whose client sends nothing further: one answer, and then its end.
func answerOf(t *testing.T, conn io.Reader) (*http.Response, string) {
	t.Helper()
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s after %s", err, b)
	}
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		t.Errorf("after the answer %s the connection goes on: %q, %v", b, rest, err)
	}
	return resp, string(b)
}

// The client of each waits for the answer before it sends any of its body, whose length nobody knows.
func TestRefusalThatReadsNoBodyComesAtOnceAndClosesTheConnection(t *testing.T) {
	ts, _ := serve(t, &fakeQueue{}, Options{})
	const chunked = "Transfer-Encoding: chunked\r\n"
	for name, c := range map[string]struct{ request, status string }{
		"a stream's header": {"POST /v1/stream HTTP/1.1\r\nHost: localhost\r\nHoldfast-Ttl: soon\r\n" + chunked, "400"},
		"a stream's type":   {"POST /v1/stream HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + chunked, "415"},
		"an item's header":  {"POST /v1/items HTTP/1.1\r\nHost: localhost\r\nHoldfast-What: x\r\n" + chunked, "400"},
		"no such path":      {"POST /base/v1/stream HTTP/1.1\r\nHost: localhost\r\n" + chunked, "404"},
		"another method":    {"PUT /v1/stream HTTP/1.1\r\nHost: localhost\r\n" + chunked, "405"},
		"another host":      {"POST /v1/stream HTTP/1.1\r\nHost: example.com\r\n" + chunked, "421"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := raw(t, ts, c.request+"\r\n")
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			if resp, body := answerOf(t, conn); !strings.HasPrefix(resp.Status, c.status) || !resp.Close {
				t.Errorf("%s, close %v: %s", resp.Status, resp.Close, body)
			}
		})
	}
}

// What is left of a body is no request.
func TestStreamThatEndsBeforeItsBodyClosesTheConnection(t *testing.T) {
	stopping := make(chan struct{})
	ts, _ := serve(t, &fakeQueue{}, Options{MaxItemBytes: 100, StreamIdle: 300 * time.Millisecond})
	halted, _ := serve(t, &fakeQueue{}, Options{Stopping: stopping})
	close(stopping)
	long := strings.Repeat("y", 5000)
	for name, request := range map[string]string{
		"over-long line":          "Transfer-Encoding: chunked\r\n\r\n2710\r\n" + long,
		"over-long line, counted": "Content-Length: 10000\r\n\r\n" + long,
		"idle":                    "Transfer-Encoding: chunked\r\n\r\n2710\r\nx\ny",
		"stopping":                "Content-Length: 10000\r\n\r\nx\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ts := ts
			if name == "stopping" {
				ts = halted
			}
			conn := raw(t, ts, "POST /v1/stream HTTP/1.1\r\nHost: localhost\r\n"+request)
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			if resp, body := answerOf(t, conn); resp.StatusCode != 200 || !resp.Close {
				t.Errorf("%s, close %v: %s", resp.Status, resp.Close, body)
			}
		})
	}
}

func TestBodyOfUnknownLengthThatWasReadKeepsTheConnection(t *testing.T) {
	ts, _ := serve(t, &fakeQueue{}, Options{})
	const post = "POST /v1/items HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
	in := bufio.NewReader(raw(t, ts, post+post))
	for range 2 {
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != 202 || resp.Close {
			t.Fatalf("%+v, %v", resp, err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
	}
}

func TestPathThatIsNotCleanIsNotFound(t *testing.T) {
	ts, _ := serve(t, &fakeQueue{}, Options{})
	for _, path := range []string{"//v1/items", "/v1//items", "/v1/./items", "/v1/x/../items", "/v1/items/"} {
		if a := call(t, ts, "POST", path, "x"); a.StatusCode != 404 || a.problem(t).Code != "not_found" {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
}

// Its client goes on sending, and is slow to read: a connection that is closed with something unread is reset, and the
// client's transport then drops what was answered.
func TestClientThatSendsOnHasTheLastAnswersOfAStreamThatStops(t *testing.T) {
	stopping, ended := make(chan struct{}), make(chan struct{})
	s, err := New(&fakeQueue{}, Options{Stopping: stopping})
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { defer close(ended); s.ServeHTTP(w, r) }))
	defer ts.Close()
	c := openStream(t, ts)
	c.send("x\n")
	c.want(1, "")
	var sender sync.WaitGroup
	defer sender.Wait()
	defer c.out.Close()
	sender.Go(func() {
		for {
			if _, err := io.WriteString(c.out, "x\n"); err != nil {
				return
			}
		}
	})
	close(stopping)
	<-ended
	<-time.After(100 * time.Millisecond) // a reset, if there is one, takes no longer
	if rest, err := io.ReadAll(c.in); err != nil {
		t.Errorf("after %d bytes: %v", len(rest), err)
	}
}

// The queue has not taken it: it is not stored, and there is nothing uncertain in that.
func TestLineThatWaitsForTheQueueWhenTheServiceStopsIsNotStored(t *testing.T) {
	stopping, waits := make(chan struct{}), make(chan struct{})
	q := &fakeQueue{submit: func(ctx context.Context, _ queue.Request) error {
		close(waits)
		<-ctx.Done()
		return queue.ErrUncertain
	}}
	ts, _ := serve(t, q, Options{Stopping: stopping})
	c := openStream(t, ts)
	c.send("x\n")
	<-waits
	close(stopping)
	c.want(1, "stopping")
	c.wantEnd()
}

func TestStreamThatAsksFirstIsToldToContinueAndNothingElse(t *testing.T) {
	ts, _ := serve(t, &fakeQueue{}, Options{})
	conn := raw(t, ts, "POST /v1/stream HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
	const want = "HTTP/1.1 100 Continue\r\n\r\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := io.WriteString(conn, "2\r\nx\n\r\n0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if resp, body := answerOf(t, conn); !resp.Close || !strings.Contains(body, `"receipt"`) {
		t.Errorf("close %v: %s", resp.Close, body)
	}
}
