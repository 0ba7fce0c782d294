//go:build linux

package crashtest_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/recovery/crashtest/trace/script"
)

// A moment is what a process had said when the power went. It does not change.
type moment struct {
	number  int                // moments are counted
	ready   bool               // the sinks were durable
	durable script.State       // the newest version that had returned, with every answered request
	begun   map[sinkTag]string // what the version changes that was under way; nil: none was
	open    map[int][]int      // the requests that were not answered: their items
	ids     map[int]string     // what producers were told
	opened  bool               // a start had said what is there: that stays
}

type sinkTag struct {
	sink string
	tag  int
}

func newMoment() *moment {
	m := &moment{durable: script.State{}, open: map[int][]int{}, ids: map[int]string{}}
	for _, s := range script.Sinks() {
		m.durable[s] = map[int]string{}
	}
	return m
}

// after is the moment after a mark.
func (m *moment) after(mark script.Mark) *moment {
	n := *m
	n.number++
	switch {
	case mark.Ready != nil:
		n.ready = true
	case mark.Put != nil:
		n.open = maps.Clone(m.open)
		n.open[mark.Put.Request] = mark.Put.Tags
	case mark.Acked != nil:
		n.open, n.ids, n.durable = maps.Clone(m.open), maps.Clone(m.ids), clone(m.durable)
		for i, tag := range m.open[mark.Acked.Request] {
			n.ids[tag] = mark.Acked.IDs[i]
			for _, s := range script.Wants(tag) {
				n.durable[s][tag] = script.Waiting
			}
		}
		delete(n.open, mark.Acked.Request)
	case mark.Begin != nil:
		n.begun = map[sinkTag]string{}
		for _, c := range mark.Begin.Changes {
			n.begun[sinkTag{c.Sink, c.Tag}] = c.To
		}
	case mark.Durable != 0:
		n.durable, n.begun = clone(m.durable), nil
		for k, to := range m.begun {
			if n.durable[k.sink][k.tag] = to; to == script.Gone {
				delete(n.durable[k.sink], k.tag)
			}
		}
	case mark.Opened != nil:
		n.durable, n.begun, n.open, n.opened = mark.Opened.State, nil, map[int][]int{}, true
	}
	return &n
}

func clone(s script.State) script.State {
	out := script.State{}
	for sink, tags := range s {
		out[sink] = maps.Clone(tags)
	}
	return out
}

// A verdict is what is not as it must be, of one image.
type verdict struct {
	lost  int // answered, not durably settled, and not there
	early int // made durable, and undone: who was told of it was told too early
	wrong int // no state explains it: other bytes, half a request, half a version, a start that had to save or to guess
	dead  int // it did not open, or broke down
	says  []string
}

func (v *verdict) add(what *int, format string, args ...any) {
	*what++
	if len(v.says) < 20 {
		v.says = append(v.says, fmt.Sprintf(format, args...))
	}
}

func (v *verdict) ok() bool { return v.lost+v.early+v.wrong+v.dead == 0 }

func (v *verdict) String() string { return strings.Join(v.says, "\n") }

// judge compares what is there with what may be there: the durable version or the one that was under way, whole; each
// request that was not answered, whole or not at all.
func (m *moment) judge(look *script.Look, v *verdict) {
	for _, w := range look.Wrong {
		v.add(&v.wrong, "%s", w)
	}
	for tag, id := range m.ids {
		if got := look.IDs[tag]; got != "" && got != id {
			v.add(&v.wrong, "item %d has the id %s, and its producer was told %s", tag, got, id)
		}
	}
	there := m.there(look.State)
	was := m.compare(look.State, nil, there)
	if m.begun != nil && !was.ok() {
		if is := m.compare(look.State, m.begun, there); is.lost+is.early+is.wrong < was.lost+was.early+was.wrong {
			was = is
		}
	}
	v.lost, v.early, v.wrong = v.lost+was.lost, v.early+was.early, v.wrong+was.wrong
	v.says = append(v.says, was.says...)
}

// there are the items of the requests without an answer of which something is there.
func (m *moment) there(s script.State) map[int]bool {
	there := map[int]bool{}
	for _, tags := range m.open {
		if slices.ContainsFunc(tags, func(tag int) bool {
			return slices.ContainsFunc(script.Wants(tag), func(sink string) bool { return s[sink][tag] != "" })
		}) {
			for _, tag := range tags {
				there[tag] = true
			}
		}
	}
	return there
}

// compare compares with one version.
func (m *moment) compare(got script.State, changed map[sinkTag]string, there map[int]bool) (v verdict) {
	for sink, tags := range m.durable {
		for tag, state := range tags {
			if to, moved := changed[sinkTag{sink, tag}]; moved {
				state = to
			}
			v.one(sink, tag, state, got[sink][tag])
		}
	}
	for tag := range there {
		for _, sink := range script.Wants(tag) {
			v.one(sink, tag, script.Waiting, got[sink][tag])
		}
	}
	for sink, tags := range got {
		for tag, state := range tags {
			if _, known := m.durable[sink][tag]; !known && !(there[tag] && state == script.Waiting) {
				v.one(sink, tag, script.Gone, state)
			}
		}
	}
	return v
}

// one compares one delivery.
func (v *verdict) one(sink string, tag int, want, got string) {
	switch {
	case want == got:
	case got == script.Gone:
		v.add(&v.lost, "sink %s, item %d: it is %q, and not there", sink, tag, want)
	case want == script.Gone || want[0] == 'd' || got == script.Waiting:
		v.add(&v.early, "sink %s, item %d: it was durably %q, and is %q again", sink, tag, want, got)
	default:
		v.add(&v.wrong, "sink %s, item %d: it is %q and not %q", sink, tag, got, want)
	}
}
