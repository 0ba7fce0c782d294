package queue

import (
	"testing"
	"testing/synctest"
	"time"
)

// Guarantee G10, in part: queue time goes on from what was stored, and believes the wall clock only forwards and only so
// far.
func TestQueueTimeGoesOnAfterAStart(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	wall := now.UnixMilli()
	day := (24 * time.Hour).Milliseconds()
	for _, c := range []struct {
		what         string
		stored, want int64
	}{
		{"nothing stored", 0, wall},
		{"off for a minute", wall - 60_000, wall},
		{"off for a year", wall - 366*day, wall},
		{"off for longer than is plausible", wall - 366*day - 1, wall - 366*day - 1},
		{"booted in 1970", wall + 56*365*day, wall + 56*365*day},
		{"stepped back a day", wall + day, wall + day},
		{"the same moment", wall, wall},
	} {
		if got := newClock(c.stored, now).base; got != c.want {
			t.Errorf("%s: starts at %d, want %d", c.what, got, c.want)
		}
	}
}

func TestQueueTimeFollowsTheMonotonicClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock(time.Now().UnixMilli()+5000, time.Now())
		began := c.now()
		time.Sleep(90 * time.Second)
		if got := c.now() - began; got != 90_000 {
			t.Errorf("90 s took %d ms", got)
		}
		if got, want := c.wall(c.now()+1000), time.Now().Add(time.Second); !got.Equal(want) {
			t.Errorf("a second from now is %v, want %v", got, want)
		}
	})
}
