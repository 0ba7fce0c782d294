package stdout

import (
	"cmp"
	"fmt"
	"slices"

	"holdfast/sinks"
)

// Options of a Sink. The zero value is production.
type Options struct {
	Format sinks.Format // raw (the default), json or cloudevents
	Source string       // of a CloudEvent whose item has no source; default /holdfast
}

var formats = []sinks.Format{sinks.Raw, sinks.JSON, sinks.CloudEvents}

func (o Options) withDefaults() (Options, error) {
	o.Format = cmp.Or(o.Format, sinks.Raw)
	if !slices.Contains(formats, o.Format) {
		return o, fmt.Errorf("format: %q is none of %q", o.Format, formats)
	}
	return o, nil
}
