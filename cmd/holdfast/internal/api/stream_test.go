package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/queue"
)

// A client of a stream, with both directions open.
type streamClient struct {
	t    *testing.T
	out  *io.PipeWriter
	resp *http.Response
	in   *bufio.Reader
}

func openStream(t *testing.T, ts *httptest.Server, headers ...string) *streamClient {
	t.Helper()
	r, w := io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "POST", ts.URL+"/v1/stream", r)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := ts.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close(); _ = resp.Body.Close() })
	return &streamClient{t, w, resp, bufio.NewReader(resp.Body)}
}

func (c *streamClient) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.out, text); err != nil {
		c.t.Fatal(err)
	}
}

type lineAnswer struct {
	Line    int
	Receipt *struct {
		ID        string
		Duplicate bool
	}
	Item    *itemState
	Problem *struct {
		Code, Detail string
		Status       int
	}
}

func (c *streamClient) recv() (a lineAnswer, err error) {
	line, err := c.in.ReadBytes('\n')
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(line, &a)
}

func (c *streamClient) want(line int, code string) lineAnswer {
	c.t.Helper()
	a, err := c.recv()
	switch {
	case err != nil || a.Line != line:
		c.t.Fatalf("%+v, %v, want the answer to line %d", a, err, line)
	case code == "" && a.Receipt == nil && a.Item == nil, code != "" && (a.Problem == nil || a.Problem.Code != code):
		c.t.Fatalf("%+v, want %q", a, code)
	}
	return a
}

func (c *streamClient) wantEnd() {
	c.t.Helper()
	if a, err := c.recv(); err != io.EOF {
		c.t.Fatalf("%+v, %v, want the end", a, err)
	}
}

func TestStreamAnswersEachLineBeforeTheNextIsSent(t *testing.T) {
	ts, _ := serve(t, &fakeQueue{}, Options{})
	c := openStream(t, ts)
	if c.resp.StatusCode != 200 || c.resp.Header.Get("Content-Type") != ndjsonType {
		t.Fatalf("%v", c.resp)
	}
	for n := 1; n <= 50; n++ {
		c.send("x\n")
		c.want(n, "")
	}
	c.send("\nlast")
	_ = c.out.Close()
	c.want(52, "")
	c.wantEnd()
}

// Guarantee A1, in part: each line of a stream is a request of its own, and its answer comes after the queue's.
func TestStreamPipelinesTenThousandLinesInOrder(t *testing.T) {
	const n = 10_000
	q := &fakeQueue{}
	var durable atomic.Int64
	group := make(chan struct{})
	q.wait = func(ctx context.Context, first int) error { // every 100 lines become durable together
		if int64(first) < durable.Load() {
			return nil
		}
		select {
		case <-ctx.Done():
			return queue.ErrUncertain
		case <-group:
			durable.Store(int64(first/100+1) * 100)
			return nil
		}
	}
	ts, _ := serve(t, q, Options{})
	c := openStream(t, ts, "Content-Type", ndjsonType)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for i := range n {
			if _, err := fmt.Fprintf(c.out, `{"n":%d}`+"\n", i); err != nil {
				t.Error(err)
				return
			}
		}
		_ = c.out.Close()
	})
	wg.Go(func() {
		for range n / 100 {
			group <- struct{}{}
		}
	})
	for i := range n {
		a := c.want(i+1, "")
		if a.Receipt.ID != idOf(i).String() || int64(i) >= durable.Load() {
			t.Fatalf("line %d has %s, %d are durable", i+1, a.Receipt.ID, durable.Load())
		}
	}
	c.wantEnd()
	for i, it := range q.stored() {
		if string(it.Body) != fmt.Sprintf(`{"n":%d}`, i) || it.Attrs.Get("content-type") != "application/json" {
			t.Fatalf("item %d is %q", i, it.Body)
		}
	}
}

// The memory of lines is used again, but not before the queue is done with them: after an answer that is uncertain it is not.
func TestLinesAreNotOverwrittenBeforeTheQueueIsDoneWithThem(t *testing.T) {
	const n, late = 600, 300
	q := &fakeQueue{wait: func(_ context.Context, first int) error {
		if first == late {
			return queue.ErrUncertain
		}
		return nil
	}}
	ts, _ := serve(t, q, Options{})
	c := openStream(t, ts)
	line := func(i int) string { return fmt.Sprintf("%04d%s", i, strings.Repeat("x", 500)) }
	for i := range n {
		c.send(line(i) + "\n")
		if want := map[bool]string{true: "uncertain"}[i == late]; c.want(i+1, want).Line == 0 {
			t.Fatal(i)
		}
	}
	_ = c.out.Close()
	c.wantEnd()
	for i, it := range q.stored() {
		if string(it.Body) != line(i) {
			t.Errorf("line %d became %.10q", i, it.Body)
		}
	}
}

func TestStreamRefusesALineAndGoesOn(t *testing.T) {
	q := &fakeQueue{}
	ts, _ := serve(t, q, Options{MaxItemBytes: 100})
	c := openStream(t, ts, "Content-Type", envelopeType)
	c.send(`{"body":1,"id":"k"}` + "\nnope\n" + `{"body":1,"x":1}` + "\n" + `{"body":2,"id":"k"}` + "\n" + `{"body":1,"id":"k"}` + "\n" + `{"body":"` + strings.Repeat("y", 101) + `"}` + "\n" + `{"body":3}` + "\n")
	_ = c.out.Close()
	c.want(1, "")
	c.want(2, "malformed")
	if a := c.want(3, "malformed"); !strings.Contains(a.Problem.Detail, "x:") {
		t.Errorf("the field is not named: %+v", a.Problem)
	}
	c.want(4, "idempotency_mismatch")
	if a := c.want(5, ""); !a.Receipt.Duplicate {
		t.Errorf("%+v", a.Receipt)
	}
	c.want(6, "too_large")
	c.want(7, "")
	c.wantEnd()
	if n := len(q.stored()); n != 2 {
		t.Errorf("%d stored", n)
	}
}

func TestOverLongLineEndsTheStream(t *testing.T) {
	q := &fakeQueue{}
	ts, _ := serve(t, q, Options{MaxItemBytes: 100})
	c := openStream(t, ts)
	c.send("ok\n" + strings.Repeat("y", 5000))
	c.want(1, "")
	if a := c.want(2, "too_large"); a.Problem.Status != 413 || !strings.Contains(a.Problem.Detail, "100 bytes") {
		t.Errorf("%+v", a.Problem)
	}
	c.wantEnd()
	_ = c.out.Close()
	if n := len(q.stored()); n != 1 {
		t.Errorf("%d stored", n)
	}
}

func TestStreamIsRefusedBeforeItsHead(t *testing.T) {
	ts, _ := serve(t, &fakeQueue{}, Options{})
	for name, h := range map[string][]string{
		"415 one item":    {"Content-Type", "application/json"},
		"415 brotli":      {"Content-Encoding", "br"},
		"415 gzip twice":  {"Content-Encoding", "gzip, gzip"},
		"415 cloudevents": {"Content-Type", "application/cloudevents-batch+json"},
		"415 one event":   {"Content-Type", "application/cloudevents+json"},
		"415 avro":        {"Content-Type", "application/cloudevents+avro"},
		"415 headers":     append([]string{"Content-Type", ndjsonType}, ceHeaders...),
		"400 ttl":         {"Holdfast-TTL", "7"},
		"400 key":         {"Idempotency-Key", "k"},
		"400 ndjson key":  {"Idempotency-Key", "k", "Content-Type", ndjsonType},
		"400 header":      {"Holdfast-What", "k"},
	} {
		if a := call(t, ts, "POST", "/v1/stream", "x\n", h...); fmt.Sprint(a.StatusCode) != name[:3] {
			t.Errorf("%s: %d", name, a.StatusCode)
		}
	}
}

// Guarantee B4, in part: want of room stops the reading of a stream and refuses no line.
func TestStreamWithoutRoomStopsReading(t *testing.T) {
	for name, full := range map[string]bool{"sink": false, "budget": true} {
		t.Run(name, func(t *testing.T) {
			room := make(chan struct{})
			q := &fakeQueue{submit: func(ctx context.Context, _ queue.Request) error {
				if full {
					select {
					case <-room:
						return nil
					default:
						return &queue.FullError{}
					}
				}
				select {
				case <-room:
					return nil
				case <-ctx.Done():
					return &queue.FullError{Sink: "crm"}
				}
			}}
			ts, _ := serve(t, q, Options{BlockTimeout: time.Millisecond})
			c := openStream(t, ts)
			const n, size = 1000, 64 << 10 // far more than sockets hold
			line := strings.Repeat("x", size-1) + "\n"
			var wrote atomic.Int64
			stuck := make(chan struct{})
			var wg sync.WaitGroup
			defer wg.Wait()
			wg.Go(func() {
				timer := time.AfterFunc(300*time.Millisecond, func() { close(stuck) })
				for range n {
					if _, err := io.WriteString(c.out, line); err != nil {
						t.Error(err)
					}
					if wrote.Add(1); timer.Stop() {
						timer.Reset(300 * time.Millisecond)
					}
				}
				_ = c.out.Close()
			})
			<-stuck
			if got := wrote.Load(); got == n || len(q.stored()) > 0 {
				t.Errorf("%d lines of %d were taken without room, %d stored", got, n, len(q.stored()))
			}
			close(room)
			for i := range n {
				c.want(i+1, "")
			}
			c.wantEnd()
		})
	}
}

// Guarantee A7, in part. What the client sent before it left, and nobody read, does not hide that.
func TestStreamThatWaitsForRoomEndsWhenItsClientLeaves(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the leaving is only noticed on Linux")
	}
	for name, full := range map[string]bool{"sink": false, "budget": true} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			waits := map[string]context.Context{}
			both := make(chan struct{}, 1)
			q := &fakeQueue{submit: func(ctx context.Context, r queue.Request) error {
				mu.Lock()
				waits[string(r.Items[0].Body[:1])] = ctx
				if len(waits) == 2 {
					select {
					case both <- struct{}{}:
					default:
					}
				}
				mu.Unlock()
				if !full {
					<-ctx.Done()
				}
				return &queue.FullError{}
			}}
			ts, _ := serve(t, q, Options{})
			head := "POST /v1/stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
			stays := raw(t, ts, head+"stays\n")
			leaves := raw(t, ts, head+strings.Repeat("leaves "+strings.Repeat("x", 1000)+"\n", 100))
			<-both
			mu.Lock()
			gone, there := waits["l"], waits["s"]
			mu.Unlock()
			_ = leaves.Close()
			select {
			case <-gone.Done():
			case <-time.After(30 * time.Second):
				t.Error("nobody noticed that the client left")
			}
			if there.Err() != nil {
				t.Error("the one that stayed was ended too")
			}
			_ = stays.Close()
			<-there.Done()
		})
	}
}

func TestStreamBoundsWhatIsUnderWay(t *testing.T) {
	for name, size := range map[string]int{"bytes": 64 << 10, "lines": 2} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			q := &fakeQueue{wait: func(ctx context.Context, _ int) error {
				select {
				case <-release:
					return nil
				case <-ctx.Done():
					return queue.ErrUncertain
				}
			}}
			ts, _ := serve(t, q, Options{})
			c := openStream(t, ts)
			n := min(400*(64<<10)/size, 5000)
			var wg sync.WaitGroup
			defer wg.Wait()
			stuck := make(chan struct{})
			wg.Go(func() {
				timer := time.AfterFunc(300*time.Millisecond, func() { close(stuck) })
				defer timer.Stop()
				for range n {
					if _, err := io.WriteString(c.out, strings.Repeat("x", size-1)+"\n"); err != nil {
						return
					}
					if len(q.stored()) < n && timer.Stop() {
						timer.Reset(300 * time.Millisecond)
					}
				}
				if timer.Stop() {
					close(stuck)
				}
				_ = c.out.Close()
			})
			<-stuck
			if got := len(q.stored()); got > streamLines+2 || got > streamBytes/size+2 {
				t.Errorf("%d lines of %d bytes are under way", got, size)
			}
			close(release)
			for i := range n {
				c.want(i+1, "")
			}
		})
	}
}

func TestDiskThatFillsUpUnderALineIsWantOfRoom(t *testing.T) {
	var fails atomic.Int64
	q := &fakeQueue{wait: func(_ context.Context, _ int) error {
		if fails.Add(1) <= 3 {
			return &queue.FullError{Disk: true}
		}
		return nil
	}}
	ts, _ := serve(t, q, Options{})
	c := openStream(t, ts)
	c.send("a\n")
	c.want(1, "")
}

func TestReaderThatIsSlowHoldsTheStreamAndLosesNothing(t *testing.T) {
	q := &fakeQueue{}
	ts, _ := serve(t, q, Options{})
	conn := raw(t, ts, "POST /v1/stream HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
	const lines = 120_000
	chunk := strings.Repeat("x\n", 1000)
	stuck := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		timer := time.AfterFunc(300*time.Millisecond, func() { close(stuck) })
		for range lines / 1000 {
			if _, err := fmt.Fprintf(conn, "%x\r\n%s\r\n", len(chunk), chunk); err != nil {
				t.Error(err)
				return
			}
			if timer.Stop() {
				timer.Reset(300 * time.Millisecond)
			}
		}
		_, _ = io.WriteString(conn, "0\r\n\r\n")
	})
	<-stuck
	held := len(q.stored())
	if held == lines {
		t.Error("all lines were taken with nobody reading the answers")
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		if got++; !strings.HasPrefix(s.Text(), fmt.Sprintf(`{"line":%d,"receipt":`, got)) {
			t.Fatalf("answer %d is %s", got, s.Text())
		}
	}
	if got != lines {
		t.Errorf("%d answers", got)
	}
}

// Guarantee A6, in part: half a line is no item.
func TestClientThatLeavesInALineStoresTheLinesBeforeIt(t *testing.T) {
	q := &fakeQueue{}
	ended := make(chan struct{})
	s, err := New(q, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { defer close(ended); s.ServeHTTP(w, r) }))
	defer ts.Close()
	c := openStream(t, ts)
	c.send("one\ntwo\nhal")
	c.want(1, "")
	c.want(2, "")
	_ = c.out.CloseWithError(errors.New("gone"))
	<-ended
	if got := q.stored(); len(got) != 2 {
		t.Errorf("%d stored", len(got))
	}
}

// Guarantee A7, in part: what is on its way when the client leaves goes on.
func TestClientThatLeavesEndsTheReadingAndNotThePuts(t *testing.T) {
	for _, prefer := range []string{"", "wait=300"} {
		t.Run(prefer, func(t *testing.T) {
			q := &fakeQueue{join: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
			const lines = 50
			submitted, ended := make(chan struct{}, lines), make(chan struct{})
			q.submit = func(context.Context, queue.Request) error { submitted <- struct{}{}; return nil }
			s, err := New(q, Options{})
			if err != nil {
				t.Fatal(err)
			}
			ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { defer close(ended); s.ServeHTTP(w, r) }))
			defer ts.Close()
			conn := raw(t, ts, "POST /v1/stream HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nPrefer: "+prefer+"\r\n\r\n64\r\n"+strings.Repeat("a\n", lines)+"\r\n")
			for range lines {
				<-submitted
			}
			_ = conn.Close()
			<-ended
			if len(q.stored()) != lines || q.opened != q.closed {
				t.Errorf("%d stored, %d joins opened, %d closed", len(q.stored()), q.opened, q.closed)
			}
		})
	}
}

// Guarantee A8, in part: on a stream.
func TestStreamCanWaitForTheSinks(t *testing.T) {
	release := make(chan struct{})
	q := &fakeQueue{join: func(ctx context.Context) error {
		select {
		case <-release:
			return nil
		default:
			<-ctx.Done()
			return ctx.Err()
		}
	}}
	ts, _ := serve(t, q, Options{})
	c := openStream(t, ts, "Prefer", "wait=1")
	if c.resp.Header.Get("Preference-Applied") != "wait=1" {
		t.Errorf("%v", c.resp.Header)
	}
	began := time.Now()
	for range 20 {
		c.send("x\n")
	}
	for n := 1; n <= 20; n++ {
		if a := c.want(n, ""); a.Item == nil || a.Item.State != "pending" {
			t.Fatalf("%+v", a)
		}
	}
	if d := time.Since(began); d < 900*time.Millisecond || d > 10*time.Second {
		t.Errorf("20 lines that wait a second each took %v", d)
	}
	close(release)
	c.send("x\n")
	if a := c.want(21, ""); a.Item == nil || a.Item.State != "complete" {
		t.Fatalf("%+v", a)
	}
	_ = c.out.Close()
	c.wantEnd()
	if q.opened != 21 || q.closed != 21 {
		t.Errorf("%d joins opened, %d closed", q.opened, q.closed)
	}
}

func TestStopEndsStreams(t *testing.T) {
	stopping := make(chan struct{})
	waits := make(chan struct{}, 2) // the writer asks first whether the join is ready, then waits for it
	q := &fakeQueue{join: func(ctx context.Context) error {
		select {
		case waits <- struct{}{}:
		default:
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	ts, _ := serve(t, q, Options{Stopping: stopping})
	idle, busy, begun := openStream(t, ts), openStream(t, ts, "Prefer", "wait=300"), openStream(t, ts)
	idle.send("x\n")
	idle.want(1, "")
	begun.send("x\nhal")
	begun.want(1, "")
	busy.send("x\n")
	<-waits
	<-waits
	close(stopping)
	idle.wantEnd()
	if a := busy.want(1, ""); a.Item == nil || a.Item.State != "pending" {
		t.Errorf("%+v", a)
	}
	busy.wantEnd()
	begun.want(2, "stopping")
	begun.wantEnd()
}

func TestStreamThatBringsNothingEnds(t *testing.T) {
	ts, _ := serve(t, &fakeQueue{}, Options{StreamIdle: 200 * time.Millisecond})
	c := openStream(t, ts)
	c.wantEnd()
	half := openStream(t, ts)
	half.send("x\nhal")
	half.want(1, "")
	half.want(2, "timeout")
	half.wantEnd()
}

func TestConnectionServesOnAfterAStream(t *testing.T) {
	q := &fakeQueue{}
	ts, _ := serve(t, q, Options{})
	for i := range 100 {
		if a := call(t, ts, "POST", "/v1/stream", "x\n"); !strings.HasPrefix(a.body, `{"line":1,"receipt":`) {
			t.Fatalf("stream %d: %d %s", i, a.StatusCode, a.body)
		}
		if a := call(t, ts, "POST", "/v1/items", "x", "Prefer", "wait=1"); a.StatusCode != 200 {
			t.Fatalf("after stream %d: %d %s", i, a.StatusCode, a.body)
		}
	}
	if got := q.stored(); len(got) != 200 {
		t.Errorf("%d stored", len(got))
	}
}

func BenchmarkStream(b *testing.B) {
	s, err := New(&fakeQueue{}, Options{})
	if err != nil {
		b.Fatal(err)
	}
	ts := httptest.NewServer(s)
	defer ts.Close()
	conn, err := net.Dial("tcp", ts.Listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	line := `{"door":"front","notes":"` + strings.Repeat("x", 486) + `"}` + "\n"
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	go func() {
		w := bufio.NewWriterSize(conn, 64<<10)
		fmt.Fprintf(w, "POST /v1/stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", b.N*len(line))
		for range b.N {
			_, _ = w.WriteString(line)
		}
		_ = w.Flush()
	}()
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 64<<10), nil)
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); n++ {
	}
	if n != b.N {
		b.Fatalf("%d answers of %d", n, b.N)
	}
}
