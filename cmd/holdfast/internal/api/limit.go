package api

import (
	"net"
	"sync"
)

// Limit returns a listener that has at most n connections open at once: who comes beyond that waits until one has closed.
// So clients cannot take the file descriptors that the store and the sinks need.
func Limit(l net.Listener, n int) net.Listener {
	return &limited{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

type limited struct {
	net.Listener
	slots  chan struct{} // one value for each connection
	closed chan struct{}
	once   sync.Once
}

// Accept waits for a free place, and for who takes it. Errors: net.ErrClosed, and those of the listener.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &place{Conn: c, leave: func() { <-l.slots }}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}
