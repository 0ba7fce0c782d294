package queue

import "sync/atomic"

// A latch is a channel that is closed once, and made only if somebody waits for it: of the lines of a busy stream, most
// answers are there before they are looked for. The zero value is not set.
type latch struct{ c atomic.Pointer[chan struct{}] }

var latched = func() *chan struct{} {
	c := make(chan struct{})
	close(c)
	return &c
}()

func (l *latch) isSet() bool { return l.c.Load() == latched }

// set lets all who wait go on. It is called once.
func (l *latch) set() {
	if c := l.c.Swap(latched); c != nil {
		close(*c)
	}
}

// wait returns a channel that is closed when the latch is set.
func (l *latch) wait() <-chan struct{} {
	c := l.c.Load()
	if c == nil {
		made := make(chan struct{})
		if c = &made; !l.c.CompareAndSwap(nil, c) {
			c = l.c.Load()
		}
	}
	return *c
}
