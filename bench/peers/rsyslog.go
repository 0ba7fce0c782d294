package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
)

// rsyslogRELP is rsyslog with RELP in, a disk queue with flushes for each sink, and TCP out, which nothing acknowledges.
// RELP answers when these queues have taken an item, for there is no other before them: it claims A.
func rsyslogRELP(sinks int) harness.System {
	return harness.System{Name: "rsyslog-relp", Sinks: sinks, Class: "A", Floor: floor.NameTCP, Start: func(ctx context.Context, p harness.Place) (harness.Running, error) {
		return startRsyslog(ctx, sinks, p)
	}}
}

const rsyslogHead = `global(workDirectory="%s" maxMessageSize="8k")
module(load="imrelp")
template(name="raw" type="string" string="%%rawmsg%%\n")
input(type="imrelp" address="127.0.0.1" port="%d" ruleset="items")
ruleset(name="items" queue.type="Direct") {
`

const rsyslogSink = `  action(type="omfwd" target="127.0.0.1" port="%d" protocol="tcp" template="raw" action.resumeRetryCount="-1"
    queue.type="Disk" queue.filename="sink%d" queue.size="10000000" queue.maxFileSize="100m" queue.dequeueBatchSize="%d"
    queue.syncQueueFiles="on" queue.checkpointInterval="1" queue.timeoutShutdown="1000" queue.saveOnShutdown="on")
`

func startRsyslog(ctx context.Context, sinks int, p harness.Place) (harness.Running, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	lines, err := listenLines(p.Tally, sinks)
	if err != nil {
		return nil, err
	}
	var conf strings.Builder
	fmt.Fprintf(&conf, rsyslogHead, p.Dir, ports[0])
	for i, ln := range lines.listeners {
		fmt.Fprintf(&conf, rsyslogSink, ln.Addr().(*net.TCPAddr).Port, i, deliveryBatch)
	}
	conf.WriteString("}\n")
	file := filepath.Join(p.Dir, "rsyslog.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		return nil, errors.Join(err, lines.close())
	}
	cmd := exec.Command(rsyslogProgram(), "-n", "-f", file, "-i", filepath.Join(p.Dir, "pid"))
	return serve(ctx, "rsyslog", cmd, p.Dir, func(s *remote) error {
		s.unblock = append(s.unblock, lines.close)
		s.dial = func(n int) (harness.Client, error) { return dialRsyslog(loopback(ports[0]), n) }
		return s.process.await(ctx, func() error {
			c, err := dialRELP(loopback(ports[0]))
			if err != nil {
				return err
			}
			return c.conn.Close()
		})
	})
}

// rsyslogProgram is the path of rsyslog with RELP, empty where it is not installed.
func rsyslogProgram() string {
	if found, _ := filepath.Glob("/usr/lib/*/rsyslog/imrelp.so"); len(found) == 0 {
		return ""
	}
	return inPath("rsyslogd")
}

func dialRsyslog(addr string, n int) (harness.Client, error) {
	c, err := dialRELP(addr)
	if err != nil {
		return nil, err
	}
	put := func(_ context.Context, bodies bodies) error {
		for _, b := range bodies {
			c.frame("syslog", b)
		}
		return c.ask(len(bodies))
	}
	return &producer{newBodies(n), put, c.conn.Close}, nil
}

// Lines are where a sink's items go that come as lines over TCP: a listener for each sink.
type lines struct {
	tally     *harness.Tally
	listeners []net.Listener
	wg        sync.WaitGroup
	mu        sync.Mutex
	conns     []net.Conn // guarded by mu
}

func listenLines(t *harness.Tally, sinks int) (*lines, error) {
	l := &lines{tally: t}
	for i := range sinks {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(err, l.close())
		}
		l.listeners = append(l.listeners, ln)
		l.wg.Go(func() { l.accept(i, ln) })
	}
	return l, nil
}

func (l *lines) accept(sink int, ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		l.conns = append(l.conns, c)
		l.mu.Unlock()
		l.wg.Go(func() {
			for s := bufio.NewScanner(c); s.Scan(); {
				l.tally.Scan(sink, s.Bytes())
			}
		})
	}
}

// close returns when nothing more is counted.
func (l *lines) close() (err error) {
	for _, ln := range l.listeners {
		err = errors.Join(err, ln.Close())
	}
	l.mu.Lock()
	for _, c := range l.conns {
		c.Close() // an error says that it has ended already
	}
	l.mu.Unlock()
	l.wg.Wait()
	return err
}
