package stdin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"holdfast/cmd/holdfast/internal/source/ndjson"
	"holdfast/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeQueue keeps what it is given, in order.
type fakeQueue struct {
	mu     sync.Mutex
	items  []queue.Item
	refuse func(n int) error // asked before the n-th item is kept, from 0
	answer func(n int) error // likewise, for Wait
	room   chan struct{}     // nil: always
}

func (q *fakeQueue) Submit(ctx context.Context, r queue.Request) (Pending, error) {
	if q.room != nil {
		select {
		case q.room <- struct{}{}:
		case <-ctx.Done():
			return nil, &queue.FullError{Sink: "slow"}
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.refuse != nil {
		if err := q.refuse(len(q.items)); err != nil {
			return nil, err
		}
	}
	q.items = append(q.items, r.Items...)
	n := len(q.items) - 1
	return pendingFunc(func() error {
		if q.answer == nil {
			return nil
		}
		return q.answer(n)
	}), nil
}

type pendingFunc func() error

func (p pendingFunc) Wait(context.Context) (queue.Accepted, error) { return queue.Accepted{}, p() }

func TestLinesBecomeItemsInOrder(t *testing.T) {
	var in strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&in, "{\"n\":%d}\n\nplain %d \n", i, i)
	}
	q := &fakeQueue{}
	n, err := Run(t.Context(), strings.NewReader(in.String()), q, Options{})
	if err != nil || n.Items != 20_000 || len(q.items) != 20_000 {
		t.Fatalf("%+v, %d items, %v", n, len(q.items), err)
	}
	var bytes int64
	for i, it := range q.items {
		want, ct := fmt.Sprintf(`{"n":%d}`, i/2), "application/json"
		if i%2 == 1 {
			want, ct = fmt.Sprintf("plain %d ", i/2), "text/plain"
		}
		if string(it.Body) != want || it.Attrs.Get("content-type") != ct {
			t.Fatalf("item %d is %q of %s", i, it.Body, it.Attrs.Get("content-type"))
		}
		bytes += int64(len(it.Body))
	}
	if n.Bytes != bytes {
		t.Errorf("%d bytes counted, want %d", n.Bytes, bytes)
	}
}

// Guarantee A6, in part: on standard input.
func TestOverLongLineIsNamedAndEndsTheRun(t *testing.T) {
	q := &fakeQueue{}
	n, err := Run(t.Context(), strings.NewReader("ok\n\n12345678901\nnever\n"), q, Options{MaxItemBytes: 10})
	if e, ok := errors.AsType[*ndjson.TooLongError](err); !ok || e.Line != 3 || n.Items != 1 || len(q.items) != 1 {
		t.Errorf("%+v, %d items, %v", n, len(q.items), err)
	}
	if err == nil || !strings.Contains(err.Error(), "line 3") || !strings.Contains(err.Error(), "10 bytes") {
		t.Errorf("the message is %q", err)
	}
}

func TestRefusedLineIsNamedAndEndsTheRun(t *testing.T) {
	q := &fakeQueue{answer: func(n int) error {
		if n == 1 {
			return queue.ErrUncertain
		}
		return nil
	}}
	n, err := Run(t.Context(), strings.NewReader("a\nb\nc\n"), q, Options{})
	if !errors.Is(err, queue.ErrUncertain) || !strings.Contains(err.Error(), "line 2") || n.Items < 1 {
		t.Errorf("%+v, %v", n, err)
	}
}

// Guarantee B4, in part: a full queue holds standard input.
func TestFullQueuePushesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &fakeQueue{room: make(chan struct{})}
		r, w := io.Pipe()
		done := make(chan error)
		go func() {
			_, err := Run(t.Context(), r, q, Options{})
			done <- err
		}()
		wrote := 0
		go func() {
			defer w.Close()
			for range 10_000 {
				if _, err := io.WriteString(w, strings.Repeat("x", 99)+"\n"); err != nil {
					return
				}
				wrote++
			}
		}()
		synctest.Wait()
		if wrote > 3_000 {
			t.Errorf("%d lines were read with no room for one", wrote)
		}
		for range 10_000 {
			<-q.room
		}
		if err := <-done; err != nil || len(q.items) != 10_000 {
			t.Errorf("%d items, %v", len(q.items), err)
		}
	})
}

func TestFullBudgetIsTriedAgainAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := time.Now().Add(3 * time.Second)
		q := &fakeQueue{refuse: func(int) error {
			if time.Now().Before(until) {
				return &queue.FullError{}
			}
			return nil
		}}
		n, err := Run(t.Context(), strings.NewReader("a\nb\n"), q, Options{})
		if err != nil || n.Items != 2 {
			t.Errorf("%+v, %v", n, err)
		}
	})
}

func TestStopTakesWhatWasReadAndDoesNotWaitForMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r, w := io.Pipe()
		defer w.Close()
		q := &fakeQueue{}
		go func() {
			_, _ = io.WriteString(w, "a\nb\nhal")
			synctest.Wait()
			cancel()
		}()
		n, err := Run(ctx, r, q, Options{})
		if !errors.Is(err, context.Canceled) || n.Items != 2 {
			t.Errorf("%+v, %v", n, err)
		}
	})
}
