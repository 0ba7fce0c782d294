package file

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"holdfast/sinks"
)

// A Fsync says when what is written is made durable.
type Fsync string

// The ways to fsync.
const (
	Always Fsync = "always" // before each delivery is done
	Rotate Fsync = "rotate" // when a file is rotated or closed: a power cut loses what was done since
	None   Fsync = "none"   // never: a power cut loses what the system had not written
)

// Options of a Sink. The zero value of all but Path is production.
type Options struct {
	Path       string       // the file; required. Its directory must be there: one that is made in place of a mount hides it
	Format     sinks.Format // raw (the default), json or cloudevents
	Source     string       // of a CloudEvent whose item has no source; default /holdfast
	Fsync      Fsync        // Always (the default), Rotate or None; the latter two are weaker
	RotateSize int64        // bytes after which the file is rotated, between deliveries; 0: never
	Keep       int          // rotated files to keep, the oldest go; 0: all
}

var formats = []sinks.Format{sinks.Raw, sinks.JSON, sinks.CloudEvents}

func (o Options) withDefaults() (Options, error) {
	o.Format = cmp.Or(o.Format, sinks.Raw)
	o.Fsync = cmp.Or(o.Fsync, Always)
	switch {
	case o.Path == "":
		return o, errors.New("path: is required")
	case !slices.Contains(formats, o.Format):
		return o, fmt.Errorf("format: %q is none of %q", o.Format, formats)
	case o.Fsync != Always && o.Fsync != Rotate && o.Fsync != None:
		return o, fmt.Errorf("fsync: %q is none of always, rotate, none", o.Fsync)
	case o.RotateSize < 0:
		return o, errors.New("rotate.size: is negative")
	case o.Keep < 0:
		return o, errors.New("rotate.keep: is negative")
	}
	return o, nil
}
