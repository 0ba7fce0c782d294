package api

import (
	"net"
	"sync/atomic"
	"time"
)

// leftEvery is how often a stream that waits for room looks whether its client is still there.
const leftEvery = time.Second

// A vigil ends a stream whose client leaves while a line waits for room. Nobody reads the connection then, so that
// net/http does not notice either. One that has only closed its own direction counts as gone too, as with net/http.
type vigil struct {
	conn       net.Conn
	over       func() bool  // has the stream ended?
	leave      func()       // ends it
	begun, got atomic.Int64 // submits that began, and those that ended
	seen       [2]int64     // both at the last look; the timer's
	timer      *time.Timer
}

// watch starts looking, unless the connection is not known.
func (v *vigil) watch(c net.Conn) {
	if v.conn = c; c == nil {
		return
	}
	v.timer = time.AfterFunc(time.Hour, v.look)
	v.timer.Reset(leftEvery)
}

func (v *vigil) stop() {
	if v.timer != nil {
		v.timer.Stop()
	}
}

// look asks the connection, if all that happened since the last look is that a line waits.
func (v *vigil) look() {
	if v.over() {
		return
	}
	now := [2]int64{v.begun.Load(), v.got.Load()}
	if now == v.seen && now[0] != now[1] && hungUp(v.conn) {
		v.leave()
		return
	}
	v.seen = now
	v.timer.Reset(leftEvery)
}
