package api

import (
	"net"
	"sync"
)

// A place is a connection that counts until it is closed.
type place struct {
	net.Conn
	once     sync.Once
	leave    func()
	session  *session // nil: net/http has not got it yet
	gathers  bool
	gathered []byte
	failed   error // of send: net/http took what was gathered for sent
}

// placeOf is the place that a connection has, perhaps below TLS; nil: it has none.
func placeOf(c net.Conn) *place {
	for {
		if p, ok := c.(*place); ok {
			return p
		}
		outer, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = outer.NetConn()
	}
}

// NetConn is what it limits, as with *tls.Conn: hungUp needs the socket.
func (p *place) NetConn() net.Conn { return p.Conn }

func (p *place) Close() error {
	err := p.Conn.Close()
	p.once.Do(p.leave)
	return err
}

// gather keeps back what is written until send. net/http's buffer of 4 KiB makes three writes of a large answer, and the client
// is woken for each: 4 streams with 256 lines in flight took a twentieth more items when they were one. What writes is the
// goroutine that gathers, and no other.
func (p *place) gather() {
	if p != nil {
		p.gathers = true
	}
}

// send writes what was gathered. After an error nothing is written any more: what follows would pass for the rest.
func (p *place) send() error {
	if p == nil || !p.gathers {
		return nil
	}
	p.gathers = false
	if len(p.gathered) > 0 && p.failed == nil {
		_, p.failed = p.Conn.Write(p.gathered)
		p.gathered = p.gathered[:0]
	}
	return p.failed
}

func (p *place) Write(b []byte) (int, error) {
	switch {
	case p.failed != nil:
		return 0, p.failed
	case p.gathers:
		p.gathered = append(p.gathered, b...)
		return len(b), nil
	}
	return p.Conn.Write(b)
}
