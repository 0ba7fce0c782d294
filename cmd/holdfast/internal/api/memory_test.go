package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/queue"
)

func TestPoolGivesNoMoreThanItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pool{free: 10}
		h := &share{pool: p, ctx: t.Context(), wait: time.Second}
		if err := h.take(7); err != nil {
			t.Fatal(err)
		}
		other := &share{pool: p, ctx: t.Context(), wait: time.Second}
		began := time.Now()
		if err := other.take(4); err == nil || err.(*Problem).Code != Busy || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := other.take(3); err != nil {
			t.Error(err)
		}
		var wg sync.WaitGroup
		for range 5 { // several wait, and all get theirs
			wg.Go(func() {
				h := &share{pool: p, ctx: t.Context(), wait: time.Minute}
				if err := h.take(5); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second)
				h.release()
				h.release()
			})
		}
		synctest.Wait()
		h.release()
		wg.Wait()
		other.release()
		if p.free != 10 {
			t.Errorf("%d are free", p.free)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := (&share{pool: p, ctx: ctx, wait: -1}).take(10); err != nil {
			t.Errorf("what is free is refused: %v", err)
		}
	})
}

// Guarantee A6, in part: bodies that are too much at once are refused before they are read.
func TestBodiesThatAreTooMuchAtOnceWaitAndAreRefused(t *testing.T) {
	o := Options{MaxItemBytes: 4 << 20, MaxRequestBytes: 4 << 20, MaxBodies: 1, BlockTimeout: 50 * time.Millisecond}
	q := &fakeQueue{}
	ts, s := serve(t, q, o)
	if s.o.MaxBodies != s.o.oneBody() {
		t.Fatalf("one request needs %d, and there are %d", s.o.oneBody(), s.o.MaxBodies)
	}
	// Clients that send most of their bodies, and no more.
	const sent = 4<<20 - 10
	n := 0
	for ; ; n++ {
		c := raw(t, ts, fmt.Sprintf("POST /v1/items HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", 4<<20, strings.Repeat("x", sent)))
		answered := make(chan int, 1)
		go func() {
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err == nil {
				resp.Body.Close()
				answered <- resp.StatusCode
			}
		}()
		timer := time.NewTimer(300 * time.Millisecond)
		select {
		case status := <-answered:
			if timer.Stop(); status != 503 {
				t.Fatalf("client %d: %d", n, status)
			}
		case <-timer.C:
			if n > 100 {
				t.Fatal("nobody is refused")
			}
			continue
		}
		break
	}
	if most := int(s.o.MaxBodies / sent); n == 0 || n > most {
		t.Errorf("%d bodies were taken at once, there is room for %d", n, most)
	}
	a := call(t, ts, "POST", "/v1/items", strings.Repeat("x", 4<<20))
	if a.StatusCode != 503 || a.problem(t).Code != "busy" || counter(t, s, "http", "busy") < 1 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if got := q.stored(); len(got) > 0 {
		t.Errorf("%d stored", len(got))
	}
	if a := call(t, ts, "POST", "/v1/items", "small"); a.StatusCode != 202 && a.StatusCode != 503 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestMemoryComesBackHoweverARequestEnds(t *testing.T) {
	for name, c := range map[string]struct {
		q       *fakeQueue
		body    string
		headers []string
	}{
		"accepted":   {&fakeQueue{}, "x", nil},
		"refused":    {&fakeQueue{}, "nope", []string{"Content-Type", envelopeType}},
		"too large":  {&fakeQueue{}, strings.Repeat("x", 2000), nil},
		"no room":    {&fakeQueue{submit: func(context.Context, queue.Request) error { return &queue.FullError{} }}, "x", nil},
		"panic":      {&fakeQueue{submit: func(context.Context, queue.Request) error { panic("oh") }}, "x", nil},
		"no gzip":    {&fakeQueue{}, "x", []string{"Content-Encoding", "gzip"}},
		"of a wait":  {&fakeQueue{join: hang}, "x", []string{"Prefer", "wait=1"}},
		"of unknown": {&fakeQueue{}, "x", []string{"Holdfast-What", "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			ts, s := serve(t, c.q, Options{MaxItemBytes: 1000})
			call(t, ts, "POST", "/v1/items", c.body, c.headers...)
			call(t, ts, "POST", "/v1/dead/purge", c.body)
			s.bodies.mu.Lock()
			defer s.bodies.mu.Unlock()
			if s.bodies.free != s.o.MaxBodies {
				t.Errorf("%d of %d are free", s.bodies.free, s.o.MaxBodies)
			}
		})
	}
}

func TestWaitForTheSinksHoldsNoMemory(t *testing.T) {
	waits := make(chan struct{}, 1)
	q := &fakeQueue{join: func(ctx context.Context) error {
		if ctx.Err() == nil {
			waits <- struct{}{}
		}
		return hang(ctx)
	}}
	ts, s := serve(t, q, Options{})
	done := make(chan struct{})
	go func() { defer close(done); call(t, ts, "POST", "/v1/items", "x", "Prefer", "wait=1") }()
	<-waits
	s.bodies.mu.Lock()
	if s.bodies.free != s.o.MaxBodies {
		t.Errorf("%d of %d are free", s.bodies.free, s.o.MaxBodies)
	}
	s.bodies.mu.Unlock()
	<-done
}

// Largest bodies of every kind fit into what one request may need.
func TestHungriestRequestFits(t *testing.T) {
	const limit = 1 << 20
	text := strings.Repeat("0123456789abcdef", limit/16)
	data := strings.Replace(ceEvent, "}", `,"datacontenttype":"text/plain","data":"`+text+`","x":"`+strings.Repeat("y", 10_000)+`"}`, 1)
	for _, enc := range []string{"", "gzip", "zstd"} {
		for contentType, body := range map[string]string{"text/plain": text, eventType: data, ndjsonType: text[:limit-1] + "\n"} {
			ts, s := serve(t, &fakeQueue{}, Options{MaxItemBytes: limit, MaxRequestBytes: limit, MaxBodies: 1, BlockTimeout: -1})
			sent, headers := body, []string{"Content-Type", contentType}
			if enc != "" {
				sent, headers = compressed(t, enc, body), append(headers, "Content-Encoding", enc)
			}
			req, err := http.NewRequestWithContext(t.Context(), "POST", ts.URL+"/v1/items", io.MultiReader(strings.NewReader(sent))) // chunked
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(headers); i += 2 {
				req.Header.Set(headers[i], headers[i+1])
			}
			if a := do(t, ts, req); a.StatusCode != 202 || s.bodies.free != s.o.MaxBodies {
				t.Errorf("%s %s: %d %s, %d of %d are free", enc, contentType, a.StatusCode, a.body, s.bodies.free, s.o.MaxBodies)
			}
		}
	}
}
