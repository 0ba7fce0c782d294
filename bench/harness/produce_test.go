package harness

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A staller is a system that takes no time, but for one put.
type staller struct {
	at    int
	takes time.Duration
}

func (s *staller) Put(_ context.Context, seq, _ int) error {
	if seq == s.at {
		time.Sleep(s.takes)
	}
	return nil
}

func (s *staller) Close() error { return nil }

// Puts that were due while the system stood still waited as well, although nobody could send them.
func TestOfferedLoadDoesNotHideAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &staller{at: 10, takes: time.Second}
		p, err := Offer(t.Context(), Workload{"", 1, 1, 200}, 0, 100, func(int) (Client, error) { return s, nil })
		if err != nil || len(p.Latencies) != 200 {
			t.Fatal(len(p.Latencies), err)
		}
		slow := 0
		for _, l := range p.Latencies {
			if l > 500*time.Millisecond {
				slow++
			}
		}
		if slow < 49 || slow > 51 {
			t.Errorf("%d puts waited for half a second, want 50", slow)
		}
		if p.Took < 1990*time.Millisecond || p.Took > 2010*time.Millisecond {
			t.Errorf("it took %v, want that of the rate", p.Took)
		}
	})
}

func TestEveryItemIsPutOnceAndTheFirstErrorEndsAll(t *testing.T) {
	for _, open := range []func(context.Context, Workload, Dial) (Produced, error){
		func(ctx context.Context, w Workload, d Dial) (Produced, error) { return Produce(ctx, w, 1000, d) },
		func(ctx context.Context, w Workload, d Dial) (Produced, error) { return Offer(ctx, w, 1000, 1e9, d) },
	} {
		got := make(chan int, 100)
		w := Workload{"", 3, 4, 60}
		if _, err := open(t.Context(), w, func(int) (Client, error) { return collector{got, nil}, nil }); err != nil {
			t.Fatal(err)
		}
		close(got)
		var seqs []int
		for seq := range got {
			seqs = append(seqs, seq)
		}
		slices.Sort(seqs)
		if len(seqs) != 60 || seqs[0] != 1000 || seqs[59] != 1059 || len(slices.Compact(seqs)) != 60 {
			t.Errorf("%v", seqs)
		}
		no := errors.New("no")
		if _, err := open(t.Context(), w, func(int) (Client, error) { return collector{make(chan int, 100), no}, nil }); !errors.Is(err, no) {
			t.Errorf("%v", err)
		}
	}
}

type collector struct {
	got chan<- int
	err error
}

func (c collector) Put(_ context.Context, seq, n int) error {
	for i := range n {
		c.got <- seq + i
	}
	return c.err
}

func (c collector) Close() error { return nil }
