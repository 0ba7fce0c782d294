package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	amqp "github.com/rabbitmq/amqp091-go"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
)

const rabbitProgram = "/usr/lib/rabbitmq/bin/rabbitmq-server"

// rabbitQuorum is RabbitMQ with a fanout exchange, a quorum queue of one node for each sink, and publisher confirms.
// Class A.
func rabbitQuorum(sinks int) harness.System {
	return harness.System{Name: "rabbitmq-quorum", Sinks: sinks, Class: "A", Floor: floor.NameTCP, Start: func(ctx context.Context, p harness.Place) (harness.Running, error) {
		return startRabbit(ctx, sinks, p)
	}}
}

// A rabbit has a second process: Erlang's port mapper, which would otherwise be started as a daemon.
type rabbit struct {
	harness.Running
	epmd *process
}

func (r rabbit) Stop() error {
	return errors.Join(r.Running.Stop(), r.epmd.stop(syscall.SIGTERM))
}

func startRabbit(ctx context.Context, sinks int, p harness.Place) (harness.Running, error) {
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	port, mapper, dist := ports[0], strconv.Itoa(ports[1]), ports[2]
	conf := filepath.Join(p.Dir, "rabbitmq.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "listeners.tcp.1 = %s\nlog.console = true\nlog.file = false\n", loopback(port)), 0o600); err != nil {
		return nil, err
	}
	epmd, err := launch("epmd", exec.Command("epmd", "-port", mapper, "-address", "127.0.0.1"), p.Dir)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(rabbitProgram)
	cmd.Env = append(os.Environ(), "HOME="+p.Dir, "ERL_EPMD_PORT="+mapper, "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_NODENAME=bench@localhost", "RABBITMQ_DIST_PORT="+strconv.Itoa(dist),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_CONFIG_FILE="+conf, "RABBITMQ_CONF_ENV_FILE=/dev/null", "RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(p.Dir, "plugins"),
		"RABBITMQ_MNESIA_BASE="+filepath.Join(p.Dir, "mnesia"), "RABBITMQ_LOG_BASE="+p.Dir, "RABBITMQ_PID_FILE="+filepath.Join(p.Dir, "pid"),
		"RUNNING_UNDER_SYSTEMD=1") // the script becomes the server, and there is no shell between
	r, err := serve(ctx, "rabbitmq", cmd, p.Dir, func(s *remote) error {
		return connectRabbit(ctx, s, "amqp://guest:guest@"+loopback(port), sinks, p.Tally)
	})
	if err != nil {
		return nil, errors.Join(err, epmd.stop(syscall.SIGTERM))
	}
	return rabbit{r, epmd}, nil
}

const rabbitExchange = "items"

func connectRabbit(ctx context.Context, s *remote, url string, sinks int, t *harness.Tally) error {
	var c *amqp.Connection
	err := s.process.await(ctx, func() (err error) { c, err = amqp.Dial(url); return err })
	if err != nil {
		return err
	}
	s.unblock = append(s.unblock, c.Close)
	ch, err := c.Channel()
	if err != nil {
		return err
	}
	if err := ch.ExchangeDeclare(rabbitExchange, amqp.ExchangeFanout, true, false, false, false, nil); err != nil {
		return err
	}
	takers := make([]rabbitTaker, sinks)
	for i := range takers {
		if takers[i], err = newRabbitTaker(c, fmt.Sprintf("sink%d", i)); err != nil {
			return err
		}
	}
	s.sinks = startWorkers(sinks, func(_ context.Context, i int) error {
		return takers[i].run(func(body []byte) { t.Scan(i, body) })
	})
	s.dial = func(n int) (harness.Client, error) { return dialRabbit(url, n) }
	return nil
}

// A rabbitTaker is a sink with a channel of its own.
type rabbitTaker struct {
	channel    *amqp.Channel
	deliveries <-chan amqp.Delivery
}

func newRabbitTaker(c *amqp.Connection, queue string) (r rabbitTaker, err error) {
	if r.channel, err = c.Channel(); err != nil {
		return r, err
	}
	if _, err = r.channel.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
		return r, err
	}
	if err = r.channel.QueueBind(queue, "", rabbitExchange, false, nil); err != nil {
		return r, err
	}
	if err = r.channel.Qos(2*deliveryBatch, 0, false); err != nil {
		return r, err
	}
	r.deliveries, err = r.channel.Consume(queue, queue, false, false, false, false, nil)
	return r, err
}

// run acknowledges a batch at once, or what has come when no more waits.
func (r rabbitTaker) run(got func(body []byte)) error {
	unacked := 0
	for d := range r.deliveries {
		got(d.Body)
		if unacked++; unacked < deliveryBatch && len(r.deliveries) > 0 {
			continue
		}
		unacked = 0
		if err := d.Ack(true); err != nil {
			return err
		}
	}
	return errors.New("the channel was closed")
}

// dialRabbit is a producer with a connection of its own: n messages, and their n confirms.
func dialRabbit(url string, n int) (harness.Client, error) {
	c, err := amqp.Dial(url)
	if err != nil {
		return nil, err
	}
	ch, err := c.Channel()
	if err == nil {
		err = ch.Confirm(false)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	confirms := make([]*amqp.DeferredConfirmation, 0, n)
	put := func(ctx context.Context, bodies bodies) error {
		confirms = confirms[:0]
		for _, b := range bodies {
			d, err := ch.PublishWithDeferredConfirm(rabbitExchange, "", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: b})
			if err != nil {
				return err
			}
			confirms = append(confirms, d)
		}
		for _, d := range confirms {
			if ok, err := d.WaitContext(ctx); err != nil || !ok {
				return errors.Join(err, errors.New("not confirmed"))
			}
		}
		return nil
	}
	return &producer{newBodies(n), put, c.Close}, nil
}
