package book

import (
	"sync"
	"time"
)

// A Book writes a Record. Safe for concurrent use.
type Book struct {
	mu     sync.Mutex
	record Record // guarded by mu
	n      int    // guarded by mu
}

// New returns a Book of some sinks.
func New(sinks ...Sink) *Book { return &Book{record: Record{Sinks: sinks}} }

// Tell notes answers that came at once.
func (b *Book) Tell(answers ...Told) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range answers {
		b.n++
		t.N, t.At = b.n, time.Now()
		b.record.Told = append(b.record.Told, t)
	}
}

// Get notes a request to a receiver. It comes before the receiver's answer is sent.
func (b *Book) Get(g Got) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n++
	g.N, g.At = b.n, time.Now()
	b.record.Got = append(b.record.Got, g)
}

// End notes the end of the process of a life: the next one that was not noted yet.
func (b *Book) End(at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.record.Kills = append(b.record.Kills, at)
}

// Record returns what there is so far.
func (b *Book) Record() *Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.record.Clone()
}
