package api

import (
	"context"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/queue"
)

// What a connection keeps of one request is not in the way of the next: each has all of its time.
func TestRequestAfterOneThatTookTooLongHasItsTime(t *testing.T) {
	hang := true
	q := &fakeQueue{wait: func(ctx context.Context, _ int) error {
		if ctx.Err() != nil {
			t.Error("its time was over before it began")
		}
		if hang {
			<-ctx.Done()
			return queue.ErrUncertain
		}
		return nil
	}}
	ts, _ := serve(t, q, Options{AcceptTimeout: 20 * time.Millisecond})
	ts.Client().Transport.(*http.Transport).MaxConnsPerHost = 1
	for range 3 {
		hang = true
		if a := call(t, ts, "POST", "/v1/items", "x"); a.StatusCode != 503 {
			t.Errorf("%s", a.body)
		}
		hang = false
		if a := call(t, ts, "POST", "/v1/items", "x"); a.StatusCode != 202 {
			t.Errorf("%s", a.body)
		}
	}
}

// A connection that has closed leaves no timer behind.
func TestClosedConnectionLetsGoOfItsTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		p := &place{Conn: here, leave: func() {}}
		defer p.Close()
		s, _ := withSession(context.Background(), p).Value(sessionKey{}).(*session)
		over := s.patient(time.Minute).Done()
		endSession(p, http.StateIdle)
		if s.patience.timer.Stop() != true {
			t.Fatal("an idle connection has lost it")
		}
		s.patience.timer.Reset(time.Minute)
		endSession(p, http.StateClosed)
		time.Sleep(time.Hour)
		select {
		case <-over:
			t.Error("the timer went on")
		default:
		}
	})
}

// The time of a bounded context begins when somebody waits; until then it is its parent.
func TestBoundedContextBeginsWhenSomebodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, stop := context.WithCancelCause(context.Background())
		defer stop(nil)
		b := &bounded{Context: parent, limit: time.Second}
		time.Sleep(time.Hour)
		if b.Err() != nil {
			t.Fatal("it ended, and nobody waited")
		}
		began := time.Now()
		if <-b.Done(); time.Since(began) != time.Second || b.Err() != context.DeadlineExceeded {
			t.Errorf("it took %v, and is %v", time.Since(began), b.Err())
		}
		b.end()
		other := &bounded{Context: parent, limit: time.Hour}
		defer other.end()
		over := other.Done()
		stop(nil)
		if <-over; other.Err() != context.Canceled {
			t.Errorf("%v", other.Err())
		}
	})
}
