package exec

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"holdfast/sinks"
)

// Options of a Sink. The zero value of all but Command is production. Its String and GoString show no secret.
type Options struct {
	// Command is the program and its arguments; required. There is no shell. A name without a slash is looked for in
	// holdfast's own PATH before each start, a relative path with one in Dir. Arguments are secrets here, though not to
	// those who list the processes of the machine.
	Command []string
	Dir     string            // the working directory; default: holdfast's
	Env     map[string]string // variables of the program; values are secrets. Names that start with HOLDFAST_ are the sink's
	Pass    []string          // names of holdfast's own variables that the program gets; nil: PATH, HOME, LANG, TZ, TMPDIR

	Format          sinks.Format // raw (the default), json or cloudevents
	Source          string       // of a CloudEvent whose item has no source; default /holdfast
	BatchWithoutIDs bool         // with raw: send a batch as lines to one process, although no line has its id

	Grace  time.Duration // from SIGTERM to SIGKILL, once the context has ended; default 2s
	Stderr bool          // put the end of what the program wrote to stderr into errors: it may quote items or secrets
}

var formats = []sinks.Format{sinks.Raw, sinks.JSON, sinks.CloudEvents}

// String names the program only.
func (o Options) String() string {
	if len(o.Command) == 0 {
		return "exec"
	}
	return "exec " + filepath.Base(o.Command[0])
}

// GoString is String, so that %#v shows no secret either.
func (o Options) GoString() string { return o.String() }

func (o Options) withDefaults() (Options, error) {
	o.Format = cmp.Or(o.Format, sinks.Raw)
	o.Grace = cmp.Or(o.Grace, 2*time.Second)
	if o.Pass == nil {
		o.Pass = []string{"PATH", "HOME", "LANG", "TZ", "TMPDIR"}
	}
	o.Command = slices.Clone(o.Command)
	o.Env = maps.Clone(o.Env)
	switch {
	case len(o.Command) == 0 || o.Command[0] == "":
		return o, errors.New("command: is required")
	case !slices.Contains(formats, o.Format):
		return o, fmt.Errorf("format: %q is none of %q", o.Format, formats)
	case o.BatchWithoutIDs && o.Format != sinks.Raw:
		return o, errors.New("batch.without_ids: is for format raw")
	case o.Grace < 0:
		return o, errors.New("grace: is negative")
	case strings.Contains(o.Dir, "\x00"):
		return o, errors.New("dir: holds a NUL")
	}
	for i, arg := range o.Command {
		if strings.Contains(arg, "\x00") {
			return o, fmt.Errorf("command[%d]: holds a NUL", i)
		}
	}
	return o, o.checkEnv()
}

func (o Options) checkEnv() error {
	for name, value := range o.Env {
		switch {
		case !isVariable(name):
			return fmt.Errorf("env: %q is not the name of a variable", name)
		case strings.HasPrefix(name, prefix):
			return fmt.Errorf("env.%s: cannot be set", name)
		case strings.Contains(value, "\x00"):
			return fmt.Errorf("env.%s: the value holds a NUL", name)
		}
	}
	for _, name := range o.Pass {
		if !isVariable(name) || strings.HasPrefix(name, prefix) {
			return fmt.Errorf("pass: %q is not the name of a variable that can be passed", name)
		}
	}
	return nil
}

func isVariable(name string) bool { return name != "" && !strings.ContainsAny(name, "=\x00") }
