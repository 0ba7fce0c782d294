package dispatcher

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"holdfast/queue"
)

// maxSuspects bounds how many items a lane remembers from batches that failed. Beyond it they are forgotten, and those
// that are poisonous are looked for again.
const maxSuspects = 16_384

// A Batch says how many deliveries go in one attempt. The zero value is one; so is Items 1, whatever the rest says.
type Batch struct {
	Items int           // at most so many, default 1
	Bytes int64         // of bodies, at most; one larger item goes alone. 0: no limit
	Wait  time.Duration // how long the first of a batch that is not full waits for others; 0: what is there goes at once
}

func (b Batch) check() error {
	if b.Items < 0 || b.Bytes < 0 || b.Wait < 0 {
		return errors.New("batch: items, bytes and wait are not negative")
	}
	return nil
}

// within returns how many of the deliveries, from the first, are one batch: at least one.
func (b Batch) within(deliveries []queue.Delivery) int {
	n := min(len(deliveries), b.Items)
	if n <= 1 || b.Bytes == 0 {
		return n
	}
	left := b.Bytes
	for i := range deliveries[:n] {
		if left -= int64(len(deliveries[i].Item.Body)); left < 0 {
			return max(i, 1)
		}
	}
	return n
}

// full reports whether nothing can be added to a batch.
func (b Batch) full(deliveries []queue.Delivery) bool {
	if len(deliveries) >= b.Items {
		return true
	}
	var size int64
	for i := range deliveries {
		size += int64(len(deliveries[i].Item.Body))
	}
	return b.Bytes > 0 && size >= b.Bytes
}

// fit returns how many of the deliveries, from the first, are attempted together.
func (l *lane) fit(deliveries []queue.Delivery) int {
	if l.Batch.Items == 1 {
		return min(len(deliveries), 1)
	}
	return l.gather(deliveries)
}

func (l *lane) gather(deliveries []queue.Delivery) int {
	n := l.Batch.within(deliveries)
	if n <= 1 || l.calm.Load() {
		return n
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.suspects.alike(deliveries[:n])
}

// collect waits until the batch is full, Batch.Wait is over since its first came, or one is in it that was attempted
// before: a retry is not put off. What the batch holds stays in it. A stop ends the wait too, and is seen before the
// attempt; so does a fault of the feed, which is seen when the next is taken.
func (l *lane) collect(ctx context.Context, w *worker) {
	over, cancel := context.WithTimeout(ctx, l.Batch.Wait)
	defer cancel()
	for looked := 0; !l.Batch.full(w.taken) && !l.known(w.taken[looked:]); {
		looked = len(w.taken)
		var err error
		w.taken, err = l.Feed.Next(over, w.taken, l.Batch.Items-looked)
		if err != nil {
			return
		}
	}
}

// known reports whether one of the deliveries was attempted before, alone or in a batch.
func (l *lane) known(deliveries []queue.Delivery) bool {
	for i := range deliveries {
		if d := &deliveries[i]; d.Attempts > 0 || !d.First.IsZero() {
			return true
		}
	}
	if l.calm.Load() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(deliveries, func(d queue.Delivery) bool { return l.suspects[d.ID] > 0 })
}

// suspects are the items of batches that failed without saying which item it was. Such an item goes again only with
// others like it, in a batch of at most half as many, down to one, whoever takes it: so the search ends, however many
// workers there are and whatever else they deliver meanwhile. An item that was found stays here until it is settled for
// good, so that its retries break no other batch.
type suspects map[uuid.UUID]int

// halve makes suspects of a batch.
func (s suspects) halve(deliveries []queue.Delivery) {
	if len(s) > maxSuspects {
		clear(s)
	}
	for i := range deliveries {
		s[deliveries[i].ID] = max(len(deliveries)/2, 1)
	}
}

// alike returns how many of the deliveries, from the first, may go together.
func (s suspects) alike(deliveries []queue.Delivery) int {
	limit := s[deliveries[0].ID]
	n := len(deliveries)
	if limit > 0 {
		n = min(n, limit)
	}
	for i := range deliveries[:n] {
		if s[deliveries[i].ID] != limit {
			return i
		}
	}
	return n
}

// clear forgets what was settled.
func (s suspects) clear(deliveries []queue.Delivery) {
	for i := range deliveries {
		delete(s, deliveries[i].ID)
	}
}
