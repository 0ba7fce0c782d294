package main

import (
	"context"
	"errors"
	"net"
	"time"

	"holdfast/bench/harness"
	"holdfast/bench/subject"
)

// A badSink is what one bad destination costs everybody else.
type badSink struct {
	Accept harness.Spread `json:"accept_ratio"` // with it, by without it
	E2E    harness.Spread `json:"e2e_ratio,omitzero"`
	P99    harness.Spread `json:"accept_p99_ratio"`
	harness.Confidence
}

// dead compares two sinks with two and a third one where nobody listens.
func (b *bench) dead(ctx context.Context) error {
	hole, err := closedPort()
	if err != nil {
		return err
	}
	run := func(s subject.Setup) func(context.Context) (harness.Sample, error) {
		return func(ctx context.Context) (harness.Sample, error) {
			return b.Run(ctx, subject.StreamWith(b.binary, 2, s), b.o.p64())
		}
	}
	change := harness.Change[harness.Sample]{What: "dead sink", Rounds: b.o.Rounds, Steady: harness.Accept,
		Round: harness.Between(run(subject.Setup{}), run(subject.Setup{URLs: []string{hole}}))}
	pairs, c, err := change.Run(ctx, b.Session)
	if err != nil {
		return err
	}
	b.report.Dead = &badSink{harness.Ratios(pairs, harness.Accept), harness.Ratios(pairs, harness.E2E), harness.Ratios(pairs, harness.P99), c}
	return nil
}

// closedPort is a URL where nobody listens.
func closedPort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return "http://" + ln.Addr().String() + "/", ln.Close()
}

// How slow the slow sink is, and how far behind.
const (
	slowAnswer  = 10 * time.Millisecond // to a batch
	slowBacklog = 100_000
)

// slow compares accepts at half of the maximum with the same while one sink is behind and reads its backlog from the
// disk.
func (b *bench) slow(ctx context.Context) error {
	most, err := b.maximum(ctx)
	if err != nil {
		return err
	}
	w, rate := b.offered(most/2, 1)
	backlog := harness.Scaled(slowBacklog, b.o.Scale, 1000)
	change := harness.Change[harness.Sample]{What: "slow sink", Rounds: b.o.Rounds, Steady: harness.P50,
		Round: harness.Between(
			func(ctx context.Context) (harness.Sample, error) {
				return b.RunAt(ctx, subject.Stream(b.binary, sinkCount), w, rate)
			},
			func(ctx context.Context) (harness.Sample, error) { return b.behind(ctx, w, rate, backlog) })}
	pairs, c, err := change.Run(ctx, b.Session)
	if err != nil {
		return err
	}
	b.report.Slow = &badSink{Accept: harness.Ratios(pairs, harness.Accept), P99: harness.Ratios(pairs, harness.P99), Confidence: c}
	return nil
}

// behind offers a load while the last sink works on a backlog, slowly.
func (b *bench) behind(ctx context.Context, w harness.Workload, rate float64, backlog int) (s harness.Sample, err error) {
	const last = sinkCount - 1
	s.Verdict, err = b.inBed(ctx, backlog+w.Items, subject.Setup{}, func(d *subject.Bed) error {
		if err := d.Operate(subject.SinkName(last), "pause"); err != nil {
			return err
		}
		if _, err := d.Fill(ctx, 0, backlog); err != nil {
			return err
		}
		d.Receiver.Slow(last, slowAnswer)
		if err := d.Operate(subject.SinkName(last), "resume"); err != nil {
			return err
		}
		p, err := harness.Offer(ctx, w, backlog, rate, d.Dial)
		d.Receiver.Slow(last, 0)
		s.Accept, s.Latency = float64(w.Items)/p.Took.Seconds(), p.Percentiles()
		return err
	})
	return s, err
}

// inBed runs do with a server and its sinks, waits until so many items have reached every sink, and stops it.
func (b *bench) inBed(ctx context.Context, items int, s subject.Setup, do func(*subject.Bed) error) (v harness.Verdict, err error) {
	err = b.InScratch(func(dir string) error {
		t := harness.NewTally(sinkCount, items)
		d, err := subject.NewBed(ctx, b.binary, harness.Place{Dir: dir, Items: items, Tally: t}, s)
		if err != nil {
			return err
		}
		if err = do(d); err == nil {
			err = t.Wait(ctx)
		}
		if err = errors.Join(err, d.Stop()); err != nil {
			return err
		}
		v, err = b.Judge(t)
		return err
	})
	return v, err
}
