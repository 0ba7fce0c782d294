package main

import (
	"context"
	"fmt"
	"io"
	"log"

	"github.com/nsqio/go-nsq"
	"github.com/nsqio/nsq/nsqd"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
)

const (
	nsqName  = "nsq"
	nsqTopic = "items"
)

// nsqEvery is nsqd with all messages on disk and a flush after each: the topic's queue, and then one for each sink, a channel.
// It answers before the flush: class B.
func nsqEvery(sinks int) harness.System {
	return harness.System{Name: nsqName, Sinks: sinks, Class: "B", Floor: floor.NameTCP, Start: func(ctx context.Context, p harness.Place) (harness.Running, error) {
		ports, err := freePorts(1)
		if err != nil {
			return nil, err
		}
		cmd, err := childCommand(nsqName, ports[0], p.Dir)
		if err != nil {
			return nil, err
		}
		return serve(ctx, nsqName, cmd, p.Dir, func(s *remote) error {
			return connectNSQ(ctx, s, loopback(ports[0]), sinks, p.Tally)
		})
	}}
}

// serveNSQ is the server in its process.
func serveNSQ(ctx context.Context, port int, dir string) error {
	o := nsqd.NewOptions()
	o.Logger = log.New(io.Discard, "", 0)
	o.TCPAddress, o.HTTPAddress, o.HTTPSAddress = loopback(port), "127.0.0.1:0", ""
	o.DataPath, o.MemQueueSize, o.SyncEvery = dir, 0, 1
	n, err := nsqd.New(o)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Main() }()
	select {
	case err = <-ended:
		n.Exit()
	case <-ctx.Done():
		n.Exit()
		err = <-ended
	}
	return err
}

func nsqConfig() *nsq.Config {
	c := nsq.NewConfig()
	c.MaxInFlight = deliveryBatch
	return c
}

func connectNSQ(ctx context.Context, s *remote, addr string, sinks int, t *harness.Tally) error {
	var first *nsq.Producer
	err := s.process.await(ctx, func() (err error) { first, err = newNSQProducer(addr); return err })
	if err != nil {
		return err
	}
	first.Stop()
	for i := range sinks {
		c, err := nsq.NewConsumer(nsqTopic, fmt.Sprintf("sink%d", i), nsqConfig())
		if err != nil {
			return err
		}
		c.SetLogger(nil, nsq.LogLevelError)
		c.AddHandler(nsq.HandlerFunc(func(m *nsq.Message) error { t.Scan(i, m.Body); return nil }))
		if err := c.ConnectToNSQD(addr); err != nil {
			return err
		}
		s.unblock = append(s.unblock, func() error { c.Stop(); <-c.StopChan; return nil })
	}
	s.dial = func(n int) (harness.Client, error) {
		p, err := newNSQProducer(addr)
		if err != nil {
			return nil, err
		}
		put := func(_ context.Context, bodies bodies) error { return p.Publish(nsqTopic, bodies[0]) }
		if n > 1 {
			put = func(_ context.Context, bodies bodies) error { return p.MultiPublish(nsqTopic, bodies) }
		}
		return &producer{newBodies(n), put, func() error { p.Stop(); return nil }}, nil
	}
	return nil
}

// newNSQProducer is a producer that is connected.
func newNSQProducer(addr string) (*nsq.Producer, error) {
	p, err := nsq.NewProducer(addr, nsqConfig())
	if err != nil {
		return nil, err
	}
	p.SetLogger(nil, nsq.LogLevelError)
	if err := p.Ping(); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}
