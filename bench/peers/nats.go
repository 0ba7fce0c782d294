package main

import (
	"context"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
)

const (
	natsAlwaysName = "nats-always"
	natsName       = "nats"
	natsSubject    = "in"
)

// natsAlways is NATS JetStream with a file store that flushes each message before it answers. Class A. One stream keeps a
// message until all sinks have it, each a durable consumer that acknowledges whole batches.
func natsAlways(sinks int) harness.System { return natsSystem(natsAlwaysName, "A", sinks) }

// natsDefault is the same as it comes: it flushes every two minutes. Class C.
func natsDefault(sinks int) harness.System { return natsSystem(natsName, "C", sinks) }

func natsSystem(name, class string, sinks int) harness.System {
	return harness.System{Name: name, Sinks: sinks, Class: class, Floor: floor.NameTCP, Start: func(ctx context.Context, p harness.Place) (harness.Running, error) {
		ports, err := freePorts(1)
		if err != nil {
			return nil, err
		}
		cmd, err := childCommand(name, ports[0], p.Dir)
		if err != nil {
			return nil, err
		}
		return serve(ctx, name, cmd, p.Dir, func(s *remote) error {
			return connectNATS(ctx, s, "nats://"+loopback(ports[0]), sinks, p.Tally)
		})
	}}
}

// serveNATS is the server in its process.
func serveNATS(ctx context.Context, port int, dir string, always bool) error {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: dir, SyncAlways: always,
	})
	if err != nil {
		return err
	}
	s.Start()
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

func connectNATS(ctx context.Context, s *remote, url string, sinks int, t *harness.Tally) error {
	var nc *nats.Conn
	err := s.process.await(ctx, func() (err error) { nc, err = nats.Connect(url, nats.NoReconnect()); return err })
	if err != nil {
		return err
	}
	s.unblock = append(s.unblock, func() error { nc.Close(); return nil })
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	var st jetstream.Stream
	err = s.process.await(ctx, func() (err error) { // JetStream is ready a moment after the port
		st, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "items", Subjects: []string{natsSubject}, Retention: jetstream.InterestPolicy})
		return err
	})
	if err != nil {
		return err
	}
	consumers := make([]jetstream.Consumer, sinks)
	for i := range consumers {
		consumers[i], err = st.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: fmt.Sprintf("sink%d", i), AckPolicy: jetstream.AckAllPolicy, MaxAckPending: 4 * deliveryBatch})
		if err != nil {
			return err
		}
	}
	s.sinks = startWorkers(sinks, func(ctx context.Context, i int) error { return consumeNATS(ctx, consumers[i], i, t) })
	s.dial = func(n int) (harness.Client, error) { return dialNATS(url, n) }
	return nil
}

// consumeNATS takes messages for a sink, and acknowledges one that stands for all before it: each batch, and when no more
// wait. That is safe with one subscription that lasts. With a fetch for each batch it is not: what comes too late for one
// fetch is then acknowledged with the next and never seen.
func consumeNATS(ctx context.Context, c jetstream.Consumer, sink int, t *harness.Tally) error {
	failed := make(chan error, 1)
	unacked := 0
	running, err := c.Consume(func(m jetstream.Msg) {
		t.Scan(sink, m.Data())
		about, err := m.Metadata()
		if unacked++; err == nil && (unacked == deliveryBatch || about.NumPending == 0) {
			unacked, err = 0, m.Ack()
		}
		if err != nil {
			select {
			case failed <- err:
			default: // the first is enough
			}
		}
	}, jetstream.PullMaxMessages(2*deliveryBatch))
	if err != nil {
		return err
	}
	defer running.Stop()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// dialNATS is a producer with a connection of its own: one message that is answered, or n at once that all are.
func dialNATS(url string, n int) (harness.Client, error) {
	nc, err := nats.Connect(url, nats.NoReconnect())
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(n))
	if err != nil {
		return nil, err
	}
	put := func(ctx context.Context, bodies bodies) error {
		_, err := js.Publish(ctx, natsSubject, bodies[0])
		return err
	}
	if n > 1 {
		put = func(ctx context.Context, bodies bodies) error { return publishNATS(ctx, js, bodies) }
	}
	return &producer{newBodies(n), put, func() error { nc.Close(); return nil }}, nil
}

func publishNATS(ctx context.Context, js jetstream.JetStream, bodies bodies) error {
	var answers []jetstream.PubAckFuture
	for _, b := range bodies {
		a, err := js.PublishAsync(natsSubject, b)
		if err != nil {
			return err
		}
		answers = append(answers, a)
	}
	for _, a := range answers {
		select {
		case <-a.Ok():
		case err := <-a.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
