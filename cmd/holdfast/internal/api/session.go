package api

import (
	"context"
	"net"
	"net/http"
	"time"
)

// A session is what belongs to a connection, and not to one of its requests: contexts and timers for each request took a
// tenth of the CPU of a service that 64 clients post to. The goroutine of the handlers uses it.
type session struct {
	conn     net.Conn  // nil: not known
	place    *place    // nil: net/http does not write to one itself, as with TLS, which has others write too
	patience *patience // with the queue; nil: nobody waited yet
}

// sessionKey is where a request's context has its session.
type sessionKey struct{}

func withSession(ctx context.Context, c net.Conn) context.Context {
	s := &session{conn: c}
	s.place, _ = c.(*place)
	if p := placeOf(c); p != nil {
		p.session = s
	}
	return context.WithValue(ctx, sessionKey{}, s)
}

// endSession lets go of the timer of a connection that has closed. net/http calls it where it called the handlers.
func endSession(c net.Conn, state http.ConnState) {
	if state != http.StateClosed {
		return
	}
	if p := placeOf(c); p != nil && p.session != nil && p.session.patience != nil {
		p.session.patience.stop()
	}
}

// sessionOf is the session of a request; where a listener of others took its connection, one for it alone.
func sessionOf(r *http.Request) *session {
	if s, ok := r.Context().Value(sessionKey{}).(*session); ok {
		return s
	}
	return &session{}
}

// patient is a context that ends when limit is over, and only then.
func (s *session) patient(limit time.Duration) context.Context {
	if s.patience == nil {
		s.patience = newPatience(limit)
	}
	return s.patience.renew()
}
