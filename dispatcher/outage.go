package dispatcher

import (
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"holdfast/queue"
)

// A sink that was up for steadyTime is as good as new.
const steadyTime = 10 * time.Minute

// An outage is what the log says of a sink that is down. That it went down, and that it came up again, is said at once;
// that it stays down, at growing intervals. One that comes and goes, as when a single item is refused as if the sink was
// down while others pass, would be said twice for each probe: from the second time on the log lags by the ladder, and
// tells how often it went down.
type outage struct {
	log     *slog.Logger
	waiting func() int64 // nil: not known

	mu      sync.Mutex    // guards what follows
	change  int           // the newest that was told
	down    bool          // as it is
	told    bool          // the log's last word was not that it is up
	lasting bool          // that word was that it stays down
	times   int           // that it went down since that word
	trouble int           // that it went down since it was steady
	began   time.Time     // when it went down first since it was steady
	changed time.Time     // when it went down or came up last
	took    time.Duration // that it was down last
	last    symptom       // the newest
	pace    queue.Ladder
	timer   *time.Timer
}

// A symptom is what tells that a sink is down.
type symptom struct {
	id  uuid.UUID // of the item that found it out
	err error
	due time.Time // of the next probe
}

// isDown is told that the sink went down, or that it still is. Changes are numbered, so that one is known that is told too
// late.
func (o *outage) isDown(change int, s symptom, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if change < o.change {
		return
	}
	o.change, o.last = change, s
	if o.down {
		return
	}
	if o.trouble == 0 || o.steady(now) {
		o.speak(now) // it may still have to be said that it came up
		o.trouble, o.began, o.pace = 0, now, queue.Ladder{}
	}
	o.down, o.changed = true, now
	o.times++
	o.trouble++
	o.speak(now)
}

// isUp is told that the sink came up again.
func (o *outage) isUp(change int, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if change < o.change || !o.down {
		o.change = max(change, o.change)
		return
	}
	o.took = now.Sub(o.changed)
	o.change, o.down, o.changed = change, false, now
	if o.trouble == 1 || o.lasting && o.times == 0 { // no part of a coming and going
		o.pace = queue.Ladder{}
	}
	o.speak(now)
}

// forget is told that the state of the sink is another matter now: it is paused, or its lane ends.
func (o *outage) forget(change int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if change < o.change {
		return
	}
	if o.timer != nil {
		o.timer.Stop()
	}
	o.change, o.down, o.told, o.lasting, o.times, o.trouble, o.pace = change, false, false, false, 0, 0, queue.Ladder{}
}

func (o *outage) steady(now time.Time) bool { return !o.down && now.Sub(o.changed) >= steadyTime }

// speak writes what there is to say, if it is time for it, and sees to it that the rest is said later. mu is held.
func (o *outage) speak(now time.Time) {
	if !o.down && !o.told && o.times == 0 {
		return
	}
	if !now.Before(o.pace.Until) || o.steady(now) {
		o.line(now)
		o.told, o.lasting = o.down || o.flaps(), o.down && o.times == 0
		o.times = 0
		o.pace.Step(now)
	}
	at := o.pace.Until
	if steady := o.changed.Add(steadyTime); !o.down && steady.Before(at) {
		at = steady
	}
	if o.timer != nil {
		o.timer.Stop()
	}
	o.timer = time.AfterFunc(at.Sub(now), o.later)
}

// flaps reports whether the sink was up, and went down again, since the last line. mu is held.
func (o *outage) flaps() bool { return o.times > 1 || o.told && o.times > 0 }

func (o *outage) later() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := time.Now(); !now.Before(o.pace.Until) || o.steady(now) {
		o.speak(now)
	}
}

// line writes a line. mu is held.
func (o *outage) line(now time.Time) {
	s := []any{"due", o.last.due, "id", o.last.id, "err", o.last.err}
	switch {
	case o.flaps():
		o.log.Warn("sink goes down and comes up again", append(o.figures(now.Sub(o.began)), append([]any{"n", o.times}, s[2:]...)...)...)
	case o.down && o.times == 0:
		o.log.Warn("sink still down", append(o.figures(now.Sub(o.changed)), s...)...)
	case o.down:
		o.log.Warn("sink down", append(o.figures(now.Sub(o.changed)), s...)...)
	case o.trouble > 1 && !o.lasting:
		o.log.Info("sink up again", append(o.figures(o.changed.Sub(o.began)), "n", o.trouble)...)
	default:
		o.log.Info("sink up again", o.figures(o.took)...)
	}
}

// figures are how long, and how much waits.
func (o *outage) figures(elapsed time.Duration) (out []any) {
	if elapsed > 0 {
		out = append(out, "elapsed", elapsed)
	}
	if o.waiting != nil {
		out = append(out, "waiting", o.waiting())
	}
	return out
}
