package queue_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"holdfast/queue"
)

// What one request leaves in its memory is not seen by the next one: each has its own receipt, key, join and items.
func TestReleasedRequestsAreUsedAgain(t *testing.T) {
	b := newBench(t, named("a")...)
	const producers, requests = 8, 1000
	ids := make([]map[uuid.UUID]string, producers) // the body of each receipt
	var wg sync.WaitGroup
	for n := range producers {
		ids[n] = map[uuid.UUID]string{}
		wg.Go(func() {
			for i := range requests {
				if err := b.putAndRelease(ids[n], fmt.Sprintf("%d-%d", n, i), i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	want := map[string]bool{}
	for _, of := range ids {
		for _, body := range of {
			want[body] = true
		}
	}
	got := b.drain("a")
	for _, body := range got {
		if !want[body] {
			t.Errorf("%q came, and has no receipt or came twice", body)
		}
		delete(want, body)
	}
	if len(want) > 0 || len(got) == 0 {
		t.Errorf("%d have a receipt and did not come", len(want))
	}
}

// putAndRelease puts a request of its own kind for each i, and adds its receipts to ids.
func (b *bench) putAndRelease(ids map[uuid.UUID]string, name string, i int) error {
	r := queue.Request{Join: i%7 == 0, Items: make([]queue.Item, 1+i%3)}
	for n := range r.Items {
		r.Items[n].Body = fmt.Appendf(nil, "%s-%d", name, n)
		if i%5 == 0 {
			r.Items[n].IdempotencyKey = string(r.Items[n].Body)
		}
	}
	for again := range 2 { // with keys, the second time they are known
		if again > 0 && i%5 != 0 {
			break
		}
		p, err := b.q.Submit(context.Background(), r)
		if err != nil {
			return err
		}
		a, err := p.Wait(context.Background())
		if err != nil {
			return err
		}
		for n, receipt := range a.Receipts {
			body := string(r.Items[n].Body)
			if old, known := ids[receipt.ID]; receipt.Duplicate != (again > 0) || known != (again > 0) || known && old != body {
				return fmt.Errorf("%s: the receipt %+v, and %q had that id before", body, receipt, old)
			}
			ids[receipt.ID] = body
		}
		if (a.Join != nil) != r.Join || len(a.Receipts) != len(r.Items) {
			return fmt.Errorf("%s: %+v", name, a)
		}
		if a.Join != nil {
			a.Join.Close()
		}
		p.Release()
	}
	return nil
}

// What is not answered yet is still somebody's.
func TestReleaseBeforeTheAnswerDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBenchOf(t, queue.Options{Sinks: named("a"), CommitDelay: time.Second})
		p, err := b.q.Submit(context.Background(), queue.Request{Items: []queue.Item{{Body: []byte("x")}}})
		b.ok(err)
		p.Release()
		a, err := p.Wait(context.Background())
		b.ok(err)
		if len(a.Receipts) != 1 || a.Receipts[0].ID == (uuid.UUID{}) {
			t.Errorf("%+v", a)
		}
		b.stop()
	})
}
