package config

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/goccy/go-yaml/ast"
)

var sinkName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// sinks decodes all sinks, in the file's order.
func (d *decoder) sinks(v value, defaults Delivery) []Sink {
	entries := d.entries(v)
	out := make([]Sink, 0, len(entries))
	for _, e := range entries {
		if !sinkName.MatchString(e.name) {
			d.fail(e.path, e.key, "not a sink name: 1 to 63 of a-z, 0-9, _ and -, the first a letter or digit")
			continue
		}
		if d.given(e.value) {
			out = append(out, d.sink(e, newSink(e.name, defaults)))
		}
	}
	if len(entries) == 0 {
		d.warnAt("sinks", "no sinks: every item is acknowledged at once and none is kept")
	}
	d.samePath(out)
	d.formerNames(out)
	return out
}

// sink decodes one. Its type comes first, because it says which keys there are.
func (d *decoder) sink(e entry, s Sink) Sink {
	entries := d.entries(e.value)
	if _, ok := e.node.(ast.MapNode); !ok {
		return s
	}
	i := slices.IndexFunc(entries, func(e entry) bool { return e.name == "type" })
	decodeType := choice(d, &s.Type, "a sink type", Stdout, FileSink, WebhookSink, ExecSink)
	switch {
	case i >= 0 && d.given(entries[i].value):
		before := len(d.found)
		if decodeType(entries[i].value); len(d.found) > before {
			s.Type = ""
		}
	default:
		s.Type = ""
		if i < 0 {
			d.failAt(e.path, "type is missing: stdout, file, webhook or exec")
		}
	}
	if i >= 0 {
		entries = slices.Delete(entries, i, i+1)
	}
	d.sinkKeys(e.value, entries, &s)
	d.checkSink(e.path, &s)
	return s
}

// sinkKeys decodes the other keys. Of a sink whose type is not known, it knows the keys of all types.
func (d *decoder) sinkKeys(v value, entries []entry, s *Sink) {
	file, webhook, exec := &File{Fsync: FsyncAlways}, &Webhook{}, &Exec{}
	switch s.Type {
	case FileSink:
		s.File = file
	case WebhookSink:
		s.Webhook = webhook
	case ExecSink:
		s.Exec = exec
	}
	known := d.commonFields(s)
	own := map[SinkType]fields{FileSink: d.fileFields(file), WebhookSink: d.webhookFields(webhook), ExecSink: d.execFields(exec)}
	for owner, fs := range own {
		if s.Type == owner || s.Type == "" {
			maps.Copy(known, fs)
			continue
		}
		entries = d.misplaced(entries, fs, owner, s.Type)
	}
	d.apply(v, entries, known)
}

// misplaced reports the keys that belong to another type of sink and returns the rest.
func (d *decoder) misplaced(entries []entry, other fields, owner, mine SinkType) []entry {
	return slices.DeleteFunc(entries, func(e entry) bool {
		_, theirs := other[e.name]
		if theirs {
			d.fail(e.path, e.key, fmt.Sprintf("belongs to %s, this one is %s", owner.noun(), mine.noun()))
		}
		return theirs
	})
}

func (t SinkType) noun() string {
	if t == ExecSink {
		return "an exec sink"
	}
	return "a " + string(t) + " sink"
}

func (d *decoder) commonFields(s *Sink) fields {
	fs := d.deliveryFields(&s.Delivery)
	fs["order"] = choice(d, &s.Order, "an order", OrderStrict, OrderKey, OrderNone)
	fs["concurrency"] = whole(d, &s.Concurrency, 1, 1024)
	fs["bounds"] = func(v value) { d.bounds(v, &s.Bounds) }
	fs["dead"] = func(v value) {
		d.mapping(v, fields{
			"max_age":   d.duration(&s.Dead.MaxAge, 0),
			"max_bytes": d.size(&s.Dead.MaxBytes, 1),
			"on_full":   choice(d, &s.Dead.OnFull, "what full dead letters do", DeadHold, DeadDropOldest),
		})
	}
	fs["format"] = choice(d, &s.Format, "a format", Raw, JSON, CloudEvents, CloudEventsBinary)
	fs["was"] = func(v value) { d.was(v, s) }
	return fs
}

// bounds decodes limits of which 0 is one: absent and 0 differ.
func (d *decoder) bounds(v value, b *Bounds) {
	optional := func(dst **int64, decode func(*int64) func(value)) func(value) {
		return func(v value) {
			*dst = new(int64)
			decode(*dst)(v)
		}
	}
	d.mapping(v, fields{
		"items":   optional(&b.Items, func(n *int64) func(value) { return whole(d, n, 0, math.MaxInt64) }),
		"bytes":   optional(&b.Bytes, func(n *int64) func(value) { return d.size(n, 0) }),
		"on_full": choice(d, &b.OnFull, "a way to be full", Block, DropNewest, DropOldest, DeadLetter),
	})
}

func (d *decoder) fileFields(f *File) fields {
	return fields{
		"path":  d.text(&f.Path, nil),
		"fsync": choice(d, &f.Fsync, "a time to sync", FsyncAlways, FsyncRotate, FsyncNone),
		"rotate": func(v value) {
			f.Rotate = &Rotate{Keep: 14}
			d.mapping(v, fields{
				"size": d.size(&f.Rotate.Size, 1),
				"keep": whole(d, &f.Rotate.Keep, 1, 1_000_000),
			})
			if _, given := d.at[v.path+".size"]; !given {
				d.failAt(v.path, "size is missing: at which size a file is rotated")
			}
		},
	}
}

// checkSink looks at what must be there, and at the keys that only together make sense.
func (d *decoder) checkSink(path string, s *Sink) {
	if s.Order == OrderStrict && s.Concurrency > 1 {
		d.failAt(path+".concurrency", "more than 1 at a time cannot keep the order: order is strict here (key and none permit it)")
	}
	d.backoff(path, &s.Delivery)
	d.checkBatch(path, s)
	if s.Format == CloudEventsBinary && s.Type != WebhookSink && s.Type != "" {
		d.failAt(path+".format", "cloudevents_binary needs headers, which only a webhook has: cloudevents has all in its text")
	}
	switch s.Type {
	case FileSink:
		d.needs(path, "path", "the file to append to")
	case WebhookSink:
		d.needs(path, "url", "where to send items")
		d.checkTLS(path+".tls", s.Webhook)
	case ExecSink:
		d.needs(path, "command", "the program to run and its arguments")
	}
}

// needs reports a key that a sink cannot do without.
func (d *decoder) needs(path, key, what string) {
	if _, given := d.at[path+"."+key]; !given {
		d.failAt(path, key+" is missing: "+what)
	}
}

// samePath reports two sinks with one file: each would cut and rotate what the other wrote.
func (d *decoder) samePath(sinks []Sink) {
	first := map[string]string{}
	for _, s := range sinks {
		if s.File == nil || s.File.Path == "" {
			continue
		}
		path := filepath.Clean(s.File.Path)
		if other, taken := first[path]; taken {
			d.failAt("sinks."+s.Name+".path", "is the file of sinks."+other+", too")
			continue
		}
		first[path] = s.Name
	}
}

// formerNames reports an old name that is also one of today's, or that two sinks want: its queue has one heir.
func (d *decoder) formerNames(sinks []Sink) {
	heirs := map[string]string{}
	for _, s := range sinks {
		for i, name := range s.Was {
			path := fmt.Sprintf("sinks.%s.was[%d]", s.Name, i)
			_, configured := d.at["sinks."+name]
			heir, taken := heirs[name]
			switch {
			case name == "":
			case name == s.Name:
				d.failAt(path, "is the name that the sink has")
			case configured:
				d.failAt(path, fmt.Sprintf("sinks.%s is configured itself: it keeps its queue", name))
			case taken && heir == s.Name:
				d.failAt(path, fmt.Sprintf("%q is given twice", name))
			case taken:
				d.failAt(path, fmt.Sprintf("sinks.%s takes over the queue of %q already", heir, name))
			}
			heirs[name] = s.Name
		}
	}
}

func (d *decoder) was(v value, s *Sink) {
	for _, e := range d.elements(v) {
		name := ""
		d.text(&name, checkName)(e)
		s.Was = append(s.Was, name)
	}
}
