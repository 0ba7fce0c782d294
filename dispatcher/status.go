package dispatcher

import "time"

// A State says how a lane is doing.
type State string

// The states of a lane.
const (
	Active  State = "active"
	Backoff State = "backoff" // the last attempt failed, and what it was for waits for its retry
	Down    State = "down"    // the destination is: one item at a time finds out whether it still is; or its queue cannot be read
	Paused  State = "paused"  // by an operator, or because the destination is gone
)

var states = [...]State{Active, Backoff, Down, Paused}

// LaneStatus is how one lane is doing now.
type LaneStatus struct {
	Sink        string
	State       State
	Since       time.Time // when the sink went down, if it is; zero: not known
	InFlight    int       // deliveries that are being attempted
	Abandoned   int       // attempts that ignored their contexts and hang still
	Delivered   int64     // since the start
	LastError   string    // empty: none since the start
	LastFailure time.Time // when that was
	NextAttempt time.Time // not before this; zero: as soon as there is something
}

// Status returns how the lanes are doing, in the order in which they were given to New. It may be called at any time.
func (d *Dispatcher) Status() []LaneStatus {
	all := make([]LaneStatus, len(d.lanes))
	for i, l := range d.lanes {
		all[i] = l.status()
	}
	return all
}

func (l *lane) status() LaneStatus {
	paused := l.Paused != nil && l.Paused()
	var since time.Time
	var unread error
	if l.Unread != nil {
		since, unread = l.Unread()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := LaneStatus{
		Sink:        l.Name,
		State:       Active,
		InFlight:    int(l.inFlight.Load()),
		Abandoned:   l.hanging,
		Delivered:   l.delivered.Load(),
		LastError:   l.lastError,
		LastFailure: l.lastFailure,
	}
	switch {
	case paused || l.paused:
		s.State = Paused
	case unread != nil: // whatever the destination does
		s.State, s.Since, s.LastError, s.LastFailure = Down, since, unread.Error(), time.Now()
	case l.breaker.state != closed:
		s.State, s.Since, s.NextAttempt = Down, l.breaker.since, l.breaker.until
	case l.hanging >= l.mayHang:
		s.State = Down
	case l.retryAt.After(time.Now()):
		s.State, s.NextAttempt = Backoff, l.retryAt
	default:
		if wait := l.delayed(1); wait > 0 {
			s.NextAttempt = time.Now().Add(wait)
		}
	}
	return s
}
