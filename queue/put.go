// Step 2 of an item's life: it is checked, gets its mask, and waits for room.

package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"holdfast/store"
)

// A Request is what a producer hands over at once: accepted whole or not at all.
type Request struct {
	Scope  string // whose idempotency keys these are: the name of a token or of a source
	Source string // where it came from, for the metrics: http, stream or stdin
	Items  []Item
	Join   bool // the producer waits until every sink has them: see Accepted
}

// An Item is one unit of a request. Attribute names are those of DESIGN's words: lower case letters and digits, and
// "content-type".
type Item struct {
	Attrs          store.Attrs
	Key            string        // at most 1,024 bytes; empty: none
	TTL            time.Duration // from the accept, in queue time; 0: for ever
	NotBefore      time.Time     // wall time; zero: at once
	IdempotencyKey string        // empty: none
	Body           []byte        // the caller does not change it until the put has returned
}

// A Receipt says that an item is durable, or was before.
type Receipt struct {
	ID        uuid.UUID
	Accepted  time.Time
	Duplicate bool     // its idempotency key was known: this is the first receipt again
	RoutedTo  []string // the sinks that owe it; nil for a duplicate
}

// Accepted is the answer to a request: a receipt for each of its items, in order.
type Accepted struct {
	Receipts []Receipt
	Join     *Join // if the request asked for it: to be closed by the caller
}

// Put accepts a request. When it returns nil the items, their masks and their keys are durable. Errors: the caller's
// and the not-stored kind of the package comment; ErrUncertain if ctx ended, or the disk failed, before the answer.
// A ctx that ends while it waits for room gives the *FullError.
func (q *Queues) Put(ctx context.Context, r Request) (Accepted, error) {
	p, err := q.Submit(ctx, r)
	if err != nil {
		return Accepted{}, err
	}
	return p.Wait(ctx)
}

// Submit is the first half of Put, for a producer that pipelines: it checks the request, waits for room if it must, and
// hands it to the committer. Requests of one goroutine are accepted in the order of its calls.
func (q *Queues) Submit(ctx context.Context, r Request) (*Pending, error) {
	if err := q.check(r); err != nil {
		return nil, err
	}
	p := q.pendings.Get().(*Pending)
	p.queues, p.source = q, r.Source
	if r.Join {
		p.join = q.join.open(q)
	}
	if err := q.dedupe.claim(ctx, p, r); err != nil {
		return nil, err
	}
	p.items = slices.Grow(p.item[:0], len(r.Items))
	for i := range r.Items {
		if !p.duplicate(i) {
			p.items = append(p.items, q.item(&r.Items[i], p.hash(i)))
		}
	}
	for i := range p.items {
		p.items[i].Continues = i > 0
		p.bytes += int64(store.EncodedSize(&p.items[i]))
	}
	if err := q.admit(ctx, p); err != nil {
		q.dedupe.abandon(p)
		p.done.set() // whoever waits for its keys looks again
		return nil, err
	}
	select {
	case q.requests <- p: // also where ctx has ended while there was room
		return q.handedOver(p), nil
	default:
	}
	select {
	case q.requests <- p:
		return q.handedOver(p), nil
	case <-q.stopping:
		return nil, q.refused(p, ErrStopping)
	case <-ctx.Done():
		return nil, q.refused(p, ErrUncertain)
	}
}

// handedOver tells the committer that there is one more. If it has ended, and did not see it, nobody else answers.
func (q *Queues) handedOver(p *Pending) *Pending {
	q.company.came(len(q.requests))
	if q.late.Load() {
		q.turnAway()
	}
	return p
}

// refused ends a request that the committer never saw.
func (q *Queues) refused(p *Pending, why error) error {
	q.withdraw(p)
	p.done.set()
	return why
}

// check refuses what can never be accepted.
func (q *Queues) check(r Request) error {
	if len(r.Items) > q.o.MaxRequestItems {
		return &TooLargeError{-1, int64(len(r.Items)), int64(q.o.MaxRequestItems), "items"}
	}
	var bodies, encoded int64
	for i := range r.Items {
		it := &r.Items[i]
		n := int64(len(it.Body))
		if n > q.o.MaxItemBytes {
			return &TooLargeError{i, n, q.o.MaxItemBytes, "bytes"}
		}
		if err := checkItem(i, it); err != nil {
			return err
		}
		bodies += n
		encoded += int64(store.EncodedSize(&store.Item{Attrs: it.Attrs, Key: it.Key, Dedupe: &store.Dedupe{}, Body: it.Body}))
	}
	if bodies > q.o.MaxRequestBytes {
		return &TooLargeError{-1, bodies, q.o.MaxRequestBytes, "bytes"}
	}
	if limit := q.st.MaxGroup(); encoded > limit {
		return &TooLargeError{-1, encoded, limit, "bytes with their attributes"}
	}
	return nil
}

const maxKeyBytes, maxAttrsBytes = 1024, 16 << 10

func checkItem(i int, it *Item) error {
	if len(it.Key) > maxKeyBytes {
		return &InvalidError{i, "key", fmt.Sprintf("longer than %d bytes", maxKeyBytes)}
	}
	if len(it.IdempotencyKey) > maxKeyBytes {
		return &InvalidError{i, "idempotency_key", fmt.Sprintf("longer than %d bytes", maxKeyBytes)}
	}
	if len(it.Attrs) > maxAttrsBytes {
		return &InvalidError{i, "attrs", fmt.Sprintf("larger than %d bytes", maxAttrsBytes)}
	}
	if it.TTL < 0 {
		return &InvalidError{i, "ttl", "negative"}
	}
	for name := range it.Attrs.All() {
		if !validName(name) {
			return &InvalidError{i, "attrs", fmt.Sprintf("the name %q is not of the form [a-z0-9]{1,64}", name)}
		}
	}
	return nil
}

func validName(name string) bool {
	if name == "content-type" {
		return true
	}
	return 1 <= len(name) && len(name) <= 64 && strings.IndexFunc(name, func(r rune) bool {
		return (r < 'a' || 'z' < r) && (r < '0' || '9' < r)
	}) < 0
}

// item is what the log will keep; its seq, its time and its mask follow.
func (q *Queues) item(it *Item, hash *store.Dedupe) store.Item {
	s := store.Item{Attrs: it.Attrs, Key: it.Key, Dedupe: hash, Body: it.Body}
	if it.TTL > 0 {
		s.Expires = q.clock.now() + it.TTL.Milliseconds()
	}
	if !it.NotBefore.IsZero() {
		s.NotBefore = it.NotBefore.UnixMilli()
	}
	return s
}

// admit gives every item its mask, and holds a place for it in each bounded sink.
func (q *Queues) admit(ctx context.Context, p *Pending) error {
	if len(p.items) == 0 {
		return nil
	}
	if err := q.room.budget(p.bytes); err != nil {
		return err
	}
	for i := range p.items {
		p.items[i].Mask = q.route(p.items[i].Attrs)
	}
	err := q.room.reserve(ctx, q, p.items)
	if e, ok := errors.AsType[*TooLargeError](err); ok && e.Item >= 0 {
		e.Item = p.position(e.Item)
	}
	if err != nil {
		return err
	}
	for i := range p.items {
		if len(p.items[i].Mask.To) == 0 {
			p.items[i].Body = nil
		}
	}
	return nil
}

// route is the set of queues that want an item.
func (q *Queues) route(a store.Attrs) *store.Mask {
	if q.plain != nil {
		return q.plain
	}
	var to []uint32
	for _, s := range q.sinks {
		if !s.orphan && (s.Match == nil || s.Match(a)) {
			to = append(to, s.queue.number)
		}
	}
	return q.masks.intern(to, nil)
}

// withdraw takes back what Submit had reserved for a request that nobody will commit.
func (q *Queues) withdraw(p *Pending) {
	q.dedupe.abandon(p)
	q.room.unreserve(p.items)
}
