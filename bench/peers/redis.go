package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"sync"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
)

// redisAlways is redis with appendfsync always: a stream, and a consumer group for each sink. Entries that all sinks have
// are trimmed. The file is not rewritten meanwhile. Class A.
func redisAlways(sinks int) harness.System {
	return harness.System{Name: nameRedis, Sinks: sinks, Class: "A", Floor: floor.NameTCP, Start: func(ctx context.Context, p harness.Place) (harness.Running, error) {
		ports, err := freePorts(1)
		if err != nil {
			return nil, err
		}
		cmd := exec.Command("redis-server", "--port", strconv.Itoa(ports[0]), "--bind", "127.0.0.1", "--dir", p.Dir,
			"--appendonly", "yes", "--appendfsync", "always", "--save", "", "--auto-aof-rewrite-percentage", "0", "--daemonize", "no")
		return serve(ctx, nameRedis, cmd, p.Dir, func(s *remote) error {
			return connectRedis(ctx, s, loopback(ports[0]), sinks, p.Tally)
		})
	}}
}

const redisStream = "items"

func connectRedis(ctx context.Context, s *remote, addr string, sinks int, t *harness.Tally) error {
	var admin *respConn
	err := s.process.await(ctx, func() (err error) { admin, err = dialRESP(addr); return err })
	if err != nil {
		return err
	}
	defer admin.conn.Close()
	trim := &redisTrim{last: make([]uint64, sinks)}
	takers := make([]*redisTaker, sinks)
	for i := range takers {
		c, err := dialRESP(addr)
		if err != nil {
			return err
		}
		takers[i] = &redisTaker{conn: c, group: fmt.Sprintf("sink%d", i), sink: i, tally: t, trim: trim}
		s.unblock = append(s.unblock, c.conn.Close)
		admin.command("XGROUP", "CREATE", redisStream, takers[i].group, "0", "MKSTREAM")
	}
	if err := admin.ask(sinks); err != nil {
		return err
	}
	s.sinks = startWorkers(sinks, func(_ context.Context, i int) error { return takers[i].run() })
	s.dial = func(n int) (harness.Client, error) { return dialRedis(addr, n) }
	return nil
}

// dialRedis is a producer: n entries in one write, and their n answers.
func dialRedis(addr string, n int) (harness.Client, error) {
	c, err := dialRESP(addr)
	if err != nil {
		return nil, err
	}
	put := func(_ context.Context, bodies bodies) error {
		for _, b := range bodies {
			c.add(b, "XADD", redisStream, "*", "b")
		}
		return c.ask(len(bodies))
	}
	return &producer{newBodies(n), put, c.conn.Close}, nil
}

// A redisTaker is a sink: it acknowledges a batch and asks for the next in one write.
type redisTaker struct {
	conn  *respConn
	group string
	sink  int
	tally *harness.Tally
	trim  *redisTrim
}

func (r *redisTaker) run() error {
	var ids []string
	for {
		answers := 0 // before the one to XREADGROUP
		if len(ids) > 0 {
			r.conn.command(append([]string{"XACK", redisStream, r.group}, ids...)...)
			answers++
			if below := r.trim.reached(r.sink, ids[len(ids)-1]); below > 0 {
				r.conn.command("XTRIM", redisStream, "MINID", "~", strconv.FormatUint(below, 10))
				answers++
			}
		}
		r.conn.command("XREADGROUP", "GROUP", r.group, "c", "COUNT", strconv.Itoa(deliveryBatch), "BLOCK", "0", "STREAMS", redisStream, ">")
		if err := r.conn.ask(answers); err != nil {
			return err
		}
		ids = ids[:0]
		err := r.conn.walk(0, func(depth int, s []byte) {
			switch depth {
			case 4: // the id of an entry, in the entries of a stream in the list of streams
				ids = append(ids, string(s))
			case 5: // its fields and values
				r.tally.Scan(r.sink, s)
			}
		})
		if err != nil {
			return err
		}
	}
}

// A redisTrim knows what all sinks have.
type redisTrim struct {
	mu      sync.Mutex
	last    []uint64 // by sink: the time in ms of the last entry that it has; guarded by mu
	trimmed uint64   // entries before that time are gone; guarded by mu
}

// reached notes how far a sink has come, and returns the time before which all entries may go, 0 if there are hardly any.
func (t *redisTrim) reached(sink int, id string) uint64 {
	const worthwhile = 100 // ms
	var ms uint64
	fmt.Sscanf(id, "%d-", &ms)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last[sink] = ms
	all := ms
	for _, l := range t.last {
		all = min(all, l)
	}
	if all < t.trimmed+worthwhile {
		return 0
	}
	t.trimmed = all
	return all
}
