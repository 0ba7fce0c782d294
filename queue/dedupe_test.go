package queue

import (
	"slices"
	"testing"
	"time"

	"holdfast/store"
)

// Guarantees A4, G10, in part: a jump of the clock from 1970 to the present within one life does not age the keys of before
// it at the next start, and what is no jump does.
func TestKeysDoNotAgeByAJumpOfTheClock(t *testing.T) {
	present := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	boot, minute := time.Unix(40, 0).UnixMilli(), time.Minute.Milliseconds()
	now := present.UnixMilli()
	for _, c := range []struct {
		what   string
		times  []int64 // of the items with keys
		newest int64   // of all items
		off    time.Duration
		known  []bool
	}{
		{"no jump", []int64{now - 70*minute, now - 61*minute, now - 59*minute}, now, 0, []bool{false, false, true}},
		{"a jump between two keys", []int64{boot, boot + 10*minute, now}, now, 0, []bool{true, true, true}},
		{"old when it jumped", []int64{boot, boot + 50*minute, now}, now + 20*minute, 0, []bool{false, true, true}},
		{"a jump after the last key", []int64{boot, boot + 59*minute}, now, 0, []bool{true, true}},
		{"and then a stop", []int64{boot, boot + 10*minute, now}, now, 55 * time.Minute, []bool{false, true, true}},
		{"a stop of years is a jump", []int64{now}, now, 20 * 366 * 24 * time.Hour, []bool{true}},
		{"a boot in 1970", []int64{now}, now, backTo1970(present), []bool{true}},
	} {
		t.Run(c.what, func(t *testing.T) {
			d := newDedupe(time.Hour, 100, func() int64 { return 7_000_000 })
			var keys []store.Key
			for i, at := range c.times {
				keys = append(keys, store.Key{Dedupe: store.Dedupe{Key: [16]byte{byte(i + 1)}}, Seq: uint64(i + 1), Time: at})
			}
			d.load(slices.Values(keys), c.newest, time.UnixMilli(c.newest).Add(c.off))
			for i, want := range c.known {
				if got := d.known[[16]byte{byte(i + 1)}] != nil; got != want {
					t.Errorf("key %d: known is %t", i, got)
				}
			}
			if d.evicted.Load() != 0 {
				t.Errorf("%d evicted", d.evicted.Load())
			}
		})
	}
}

// backTo1970 is how far the clock goes back at a boot without a clock.
func backTo1970(now time.Time) time.Duration { return time.Unix(40, 0).Sub(now) }
