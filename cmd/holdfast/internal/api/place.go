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
// is woken for each: 4 streams with 256 lines in flight took a twentieth more items when they were one.
func (p *place) gather() {
	if p != nil {
		p.gathers = true
	}
}

// send writes what was gathered.
func (p *place) send() error {
	if p == nil || !p.gathers {
		return nil
	}
	p.gathers = false
	if len(p.gathered) == 0 {
		return nil
	}
	_, err := p.Conn.Write(p.gathered)
	p.gathered = p.gathered[:0]
	return err
}

func (p *place) Write(b []byte) (int, error) {
	if !p.gathers {
		return p.Conn.Write(b)
	}
	p.gathered = append(p.gathered, b...)
	return len(b), nil
}
