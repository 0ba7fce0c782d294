package queue

import (
	"fmt"
	"time"
)

// An unread is what keeps a feed from reading on: the disk does not answer, or damage cannot be dealt with, as when there is no
// room for the quarantine. The zero value is none. It is guarded by its queue's lock.
type unread struct {
	since time.Time // zero: the log can be read
	err   error
	pace  Ladder
}

// cannotRead notes that a read failed, and says so when it is time for it.
func (u *queue) cannotRead(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n, now := &u.unread, time.Now()
	if n.since.IsZero() {
		*n = unread{since: now}
	}
	if n.err = fmt.Errorf("the log cannot be read: %w", err); now.Before(n.pace.Until) {
		return
	}
	u.all.o.Log.Warn("the log cannot be read, it will be tried again", "sink", u.sink.Name, "err", err, "elapsed", now.Sub(n.since))
	n.pace.Step(now)
}

// canRead notes that a read did not fail. u.mu is held.
func (u *queue) canRead() {
	if since := u.unread.since; !since.IsZero() {
		u.all.o.Log.Info("the log can be read again", "sink", u.sink.Name, "elapsed", time.Since(since))
		u.unread = unread{}
	}
}

// Unread tells since when, and by what, the sink's queue cannot be read, so that nothing is delivered: the zero time and nil
// while it can. It may be called at any time.
func (f *Feed) Unread() (since time.Time, err error) {
	f.u.mu.Lock()
	defer f.u.mu.Unlock()
	return f.u.unread.since, f.u.unread.err
}
