// Package script is what the recorded process does to a store, and what has to be seen in the store afterwards: items of
// which the body follows from a number, marks about what was begun, answered and made durable, and a look at all of a store
// that can be compared with what the marks say.
//
// It drives the real queue, one step after the other, so that each commit of queues.db is one version of the whole. What
// the queue does by itself (segments made, sealed, emptied, released) comes in between, and changes no version.
package script

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"holdfast/queue"
	"holdfast/recovery"
	"holdfast/store"
)

// Options are those of the store: everything is small, so that much happens.
func Options() recovery.Options {
	return recovery.Options{Store: store.Options{SegmentBytes: 64 << 10, BlockBytes: 2 << 10}}
}

// Sinks are the names of the sinks: one that takes all in any order, one that takes every other item, one that is strict.
func Sinks() []string { return []string{"all", "even", "strict"} }

// QueueOptions are those of the queue. Nothing is marked before it is asked for.
func QueueOptions() queue.Options {
	even := func(a store.Attrs) bool { return tagOf(a)%2 == 0 }
	return queue.Options{
		Sinks: []queue.SinkOptions{
			{Name: "all", Order: queue.None, Window: 4096},
			{Name: "even", Order: queue.None, Window: 4096, Match: even},
			{Name: "strict", Window: 4096, Match: func(a store.Attrs) bool { return !large(tagOf(a)) }},
		},
		MarkDelay: time.Hour,
		Handover:  16 << 10,
	}
}

// large reports whether the sink strict does not want an item: every seventh.
func large(tag int) bool { return tag%7 == 3 }

// Wants returns the sinks that an item is for.
func Wants(tag int) (sinks []string) {
	a := attrs(tag)
	for _, s := range QueueOptions().Sinks {
		if s.Match == nil || s.Match(a) {
			sinks = append(sinks, s.Name)
		}
	}
	return sinks
}

func attrs(tag int) store.Attrs { return store.MakeAttrs(map[string]string{"tag": strconv.Itoa(tag)}) }

// tagOf is the number of an item; -1: it has none.
func tagOf(a store.Attrs) int {
	for name, value := range a.All() {
		if n, err := strconv.Atoi(value); name == "tag" && err == nil {
			return n
		}
	}
	return -1
}

// early reports whether an item is not due before long.
func early(tag int) bool { return tag%29 == 5 }

// Body is the body of an item: some are empty, a few take several blocks, and those that stay are small.
func Body(tag int) []byte {
	state := uint64(tag)
	b := make([]byte, size(tag))
	for i := range b {
		b[i] = next(&state)
	}
	return b
}

// isBody reports whether a body is that of the item.
func isBody(b []byte, tag int) bool {
	state := uint64(tag)
	for i := range b {
		if b[i] != next(&state) {
			return false
		}
	}
	return len(b) == size(tag)
}

// next is one of a row of bytes that do not repeat (Knuth's MMIX).
func next(state *uint64) byte {
	*state = *state*6364136223846793005 + 1442695040888963407
	return byte(*state >> 56)
}

func size(tag int) int {
	rng := rand.New(rand.NewPCG(uint64(tag), 0xb0d1))
	switch kind := rng.IntN(8); {
	case kind == 0:
		return 0
	case early(tag):
		return 50
	case kind == 1:
		return 4000 + rng.IntN(4000)
	}
	return 20 + rng.IntN(1500)
}

// Item is an item as it is put: some have an idempotency key, and a few are not due before long.
func Item(tag int) queue.Item {
	it := queue.Item{Attrs: attrs(tag), Body: Body(tag)}
	if tag%3 == 0 {
		it.IdempotencyKey = fmt.Sprint("key ", tag)
	}
	if early(tag) {
		it.NotBefore = time.Now().Add(1000 * time.Hour)
	}
	return it
}
