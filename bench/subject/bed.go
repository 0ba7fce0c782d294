package subject

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
)

// The names of holdfast in a process of its own, by the way in.
const (
	NameStream = "stream"
	NamePost   = "post"
)

// Stream is holdfast as a server, with webhook sinks, its items put on POST /v1/stream. binary is what Build made.
func Stream(binary string, sinks int) harness.System {
	return server(NameStream, binary, sinks, dialStream, Setup{})
}

// StreamWith is Stream with another setup.
func StreamWith(binary string, sinks int, s Setup) harness.System {
	return server(NameStream, binary, sinks, dialStream, s)
}

// Post is Stream with its items put by POST /v1/items.
func Post(binary string, sinks int) harness.System {
	return server(NamePost, binary, sinks, dialPost, Setup{})
}

// A door is a way into the server.
type door func(addr string, n int) (harness.Client, error)

func server(name, binary string, sinks int, in door, s Setup) harness.System {
	return harness.System{Name: name, Sinks: sinks, Floor: floor.NameTCP, Class: "A",
		Start: func(ctx context.Context, p harness.Place) (harness.Running, error) {
			b, err := NewBed(ctx, binary, p, s)
			if err != nil {
				return nil, err
			}
			b.in = in
			return b, nil
		}}
}

// A Bed is a running server with the receiver of its webhooks. It is a harness.Running, Counter and Holder.
type Bed struct {
	*process
	Tally    *harness.Tally
	Receiver *harness.Receiver
	in       door
}

// NewBed starts a server with a webhook sink for each that the tally counts, and those of the setup. Items are put on
// streams.
func NewBed(ctx context.Context, binary string, p harness.Place, s Setup) (*Bed, error) {
	r, err := harness.NewReceiver(p.Tally)
	if err != nil {
		return nil, err
	}
	var urls []string
	for i := range p.Tally.Sinks() {
		urls = append(urls, r.URL(i))
	}
	b := &Bed{&process{binary: binary, dir: p.Dir}, p.Tally, r, dialStream}
	if err = s.write(filepath.Join(p.Dir, "holdfast.yaml"), append(urls, s.URLs...)); err == nil {
		err = b.Start(ctx)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return b, nil
}

// Dial connects a producer.
func (b *Bed) Dial(n int) (harness.Client, error) { return b.in(b.addr, n) }

// PIDs is the server's.
func (b *Bed) PIDs() []int { return []int{b.PID()} }

// Stop ends the server and then the receiver.
func (b *Bed) Stop() error {
	defer b.Receiver.Close()
	return b.process.Stop()
}

// Hold pauses every sink that the tally counts; a restart does not change that.
func (b *Bed) Hold() error { return b.operateAll("pause") }

// Release resumes them.
func (b *Bed) Release() error { return b.operateAll("resume") }

func (b *Bed) operateAll(verb string) error {
	for i := range b.Tally.Sinks() {
		if err := b.Operate(SinkName(i), verb); err != nil {
			return err
		}
	}
	return nil
}

// Restart stops the server in good order and starts it again.
func (b *Bed) Restart(ctx context.Context) (start time.Duration, err error) {
	if err := b.process.Stop(); err != nil {
		return 0, err
	}
	err = b.Start(ctx)
	return b.ready, err
}

// Fill puts items from first on as fast as they are taken, four bursts of 250 at a time, and returns how fast that was.
func (b *Bed) Fill(ctx context.Context, first, items int) (perSecond float64, err error) {
	w := harness.Workload{Name: "fill", Producers: 4, Batch: 250, Items: items}
	if items%w.Batch != 0 {
		return 0, fmt.Errorf("%d items are not a multiple of %d", items, w.Batch)
	}
	return b.Put(ctx, w, first)
}

// Put puts a workload's items from first on, and returns how many were accepted per second.
func (b *Bed) Put(ctx context.Context, w harness.Workload, first int) (perSecond float64, err error) {
	p, err := harness.Produce(ctx, w, first, b.Dial)
	return float64(w.Items) / p.Took.Seconds(), err
}

// DiskUse is what its files take, in bytes.
func (b *Bed) DiskUse() int64 { return harness.DiskUse(b.dir) }
