package stdout

import (
	"cmp"
	"fmt"

	"holdfast/sinks"
)

// Options of a Sink. The zero value is production.
type Options struct {
	Format sinks.Format // raw (the default) or json
}

func (o Options) withDefaults() (Options, error) {
	o.Format = cmp.Or(o.Format, sinks.Raw)
	if o.Format != sinks.Raw && o.Format != sinks.JSON {
		return o, fmt.Errorf("format: %q is neither raw nor json", o.Format)
	}
	return o, nil
}
