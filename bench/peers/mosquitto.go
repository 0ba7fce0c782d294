package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
)

// mosquittoQoS1 is mosquitto with a session that it keeps for each sink, and QoS 1 on both sides. It has all in memory and
// saves that now and then: class D, which a proof cannot tell from C.
func mosquittoQoS1(sinks int) harness.System {
	const name = "mosquitto"
	return harness.System{Name: name, Sinks: sinks, Class: "D", Floor: floor.NameTCP, Start: func(ctx context.Context, p harness.Place) (harness.Running, error) {
		ports, err := freePorts(1)
		if err != nil {
			return nil, err
		}
		file := filepath.Join(p.Dir, "mosquitto.conf")
		conf := fmt.Sprintf("listener %d 127.0.0.1\nuser root\nallow_anonymous true\npersistence true\npersistence_location %s/\n"+
			"max_queued_messages 0\nmax_queued_bytes 0\nmax_inflight_messages %d\nset_tcp_nodelay true\nlog_type error\n", ports[0], p.Dir, deliveryBatch)
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			return nil, err
		}
		return serve(ctx, name, exec.Command(inPath("mosquitto"), "-c", file), p.Dir, func(s *remote) error {
			return connectMosquitto(ctx, s, "tcp://"+loopback(ports[0]), sinks, p.Tally)
		})
	}}
}

const (
	mqttTopic      = "items"
	mqttAtLeast    = 1   // QoS
	mqttDisconnect = 100 // ms, for what is under way
)

func connectMosquitto(ctx context.Context, s *remote, url string, sinks int, t *harness.Tally) error {
	for i := range sinks {
		var c mqtt.Client
		err := s.process.await(ctx, func() (err error) { c, err = connectMQTT(url, fmt.Sprintf("sink%d", i)); return err })
		if err != nil {
			return err
		}
		s.unblock = append(s.unblock, func() error { c.Disconnect(mqttDisconnect); return nil })
		done := c.Subscribe(mqttTopic, mqttAtLeast, func(_ mqtt.Client, m mqtt.Message) { t.Scan(i, m.Payload()) })
		if done.Wait(); done.Error() != nil {
			return done.Error()
		}
	}
	s.dial = func(n int) (harness.Client, error) { return dialMosquitto(url, n) }
	return nil
}

// connectMQTT keeps the session of a client with a name.
func connectMQTT(url, name string) (mqtt.Client, error) {
	o := mqtt.NewClientOptions().AddBroker(url).SetClientID(name).SetCleanSession(name == "").SetAutoReconnect(false).SetOrderMatters(true)
	c := mqtt.NewClient(o)
	done := c.Connect()
	done.Wait()
	return c, done.Error()
}

// dialMosquitto is a producer: n messages, and their n answers.
func dialMosquitto(url string, n int) (harness.Client, error) {
	c, err := connectMQTT(url, "")
	if err != nil {
		return nil, err
	}
	put := func(_ context.Context, bodies bodies) error {
		var all []mqtt.Token
		for _, b := range bodies {
			all = append(all, c.Publish(mqttTopic, mqttAtLeast, false, b))
		}
		for _, done := range all {
			if done.Wait(); done.Error() != nil {
				return done.Error()
			}
		}
		return nil
	}
	return &producer{newBodies(n), put, func() error { c.Disconnect(mqttDisconnect); return nil }}, nil
}
