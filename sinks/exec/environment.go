package exec

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"holdfast/sinks"
)

// prefix is of the variables that the sink sets. What a producer can choose is behind it, so that no item can set PATH.
const prefix = "HOLDFAST_"

// environment returns the variables of the process for these items, which get size bytes on stdin.
func (o Options) environment(items []sinks.Item, size int) []string {
	var env []string
	for _, name := range o.Pass {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.Env)) {
		env = append(env, name+"="+o.Env[name])
	}
	env = append(env, prefix+"COUNT="+strconv.Itoa(len(items)), prefix+"SIZE="+strconv.Itoa(size))
	if len(items) == 1 {
		env = appendItem(env, &items[0])
	}
	return env
}

func appendItem(env []string, it *sinks.Item) []string {
	set := func(name, value string) {
		if value != "" && !strings.Contains(value, "\x00") {
			env = append(env, prefix+name+"="+value)
		}
	}
	set("ID", it.ID.String())
	set("ATTEMPT", strconv.Itoa(it.Attempt))
	set("ACCEPTED", it.Accepted.UTC().Format("2006-01-02T15:04:05.000Z"))
	set("KEY", it.Key)
	if it.Attrs == nil {
		return env
	}
	for name, value := range it.Attrs.All() {
		switch name {
		case "type", "source":
			set(strings.ToUpper(name), value)
		case "content-type":
			set("CONTENT_TYPE", value)
		default:
			set("ATTR_"+strings.ToUpper(name), value)
		}
	}
	return env
}
