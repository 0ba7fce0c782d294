package api

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestPatienceEndsWhenItIsNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatience(time.Minute)
		defer p.stop()
		for range 3 {
			ctx := p.renew()
			time.Sleep(59 * time.Second)
			if ctx.Err() != nil {
				t.Fatal("it ended before its time")
			}
		}
		over := p.renew().Done()
		time.Sleep(64 * time.Second) // a minute and a sixteenth, see lease
		select {
		case <-over:
		default:
			t.Fatal("it did not end")
		}
		if !errors.Is(p.Err(), context.DeadlineExceeded) {
			t.Error(p.Err())
		}
		if ctx := p.renew(); ctx.Err() != nil {
			t.Error("it is over although it was renewed")
		}
	})
}

// A lease is never shorter than it says, and little longer; it is not set each time.
func TestLeaseIsSetAgainBeforeItIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const length = 160 * time.Second
		var until time.Time
		sets := 0
		l := lease{set: func(at time.Time) error { until = at; sets++; return nil }, length: length}
		for range 100 {
			l.extend()
			if left := time.Until(until); left < length || left > length+length/16 {
				t.Fatalf("%v left of %v", left, length)
			}
			time.Sleep(time.Second)
		}
		if sets != 10 {
			t.Errorf("it was set %d times in 100 s", sets)
		}
	})
}

// The time of a bounded context begins when somebody waits; until then it is its parent.
func TestBoundedContextBeginsWhenSomebodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, stop := context.WithCancelCause(context.Background())
		defer stop(nil)
		b := &bounded{Context: parent, limit: time.Second}
		time.Sleep(time.Hour)
		if b.Err() != nil {
			t.Fatal("it ended, and nobody waited")
		}
		began := time.Now()
		if <-b.Done(); time.Since(began) != time.Second || b.Err() != context.DeadlineExceeded {
			t.Errorf("it took %v, and is %v", time.Since(began), b.Err())
		}
		b.end()
		other := &bounded{Context: parent, limit: time.Hour}
		defer other.end()
		over := other.Done()
		stop(nil)
		if <-over; other.Err() != context.Canceled {
			t.Errorf("%v", other.Err())
		}
	})
}
