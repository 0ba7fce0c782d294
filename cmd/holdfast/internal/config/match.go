package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Match says by their attributes which items a sink gets: those that fulfil every condition, so nil is all of them. It
// is sorted by attribute, each of which it has once, and is not changed once made; any goroutine may use it.
type Match []Condition

// A Condition is fulfilled by an item that has the attribute with a value that any of the patterns matches.
type Condition struct {
	Attribute string
	Any       []Glob // sorted, at least one
}

// A Glob is a pattern for a whole value, in which a star stands for any characters, none and dots and line ends
// included. Every other character stands for itself.
type Glob string

// Matches tells whether an item is wanted. get returns one of its attributes, and whether it has it. The time it takes
// is linear in patterns and values, and it allocates nothing.
func (m Match) Matches(get func(attribute string) (value string, ok bool)) bool {
	for _, c := range m {
		value, ok := get(c.Attribute)
		if !ok || !slices.ContainsFunc(c.Any, func(g Glob) bool { return g.Matches(value) }) {
			return false
		}
	}
	return true
}

// Matches tells whether the pattern matches a whole value. Of the texts between stars, each is best taken where it comes
// first: that leaves the most for those after it, so nothing is ever tried twice.
func (g Glob) Matches(value string) bool {
	head, rest, star := strings.Cut(string(g), "*")
	value, ok := strings.CutPrefix(value, head)
	if !star || !ok {
		return ok && value == ""
	}
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(value, part)
		}
		_, value, ok = strings.Cut(value, part)
		if !ok {
			return false
		}
		rest = after
	}
}

// String is the match in its one canonical form, a JSON object of lists, {} for nil: equal texts mean equal matches. It
// is what a frozen match is stored as, and does not change between versions. ParseMatch reads it.
func (m Match) String() string {
	object := make(map[string][]Glob, len(m))
	for _, c := range m {
		object[c.Attribute] = c.Any
	}
	text, _ := json.Marshal(object) // sorts the keys; texts always have a JSON form
	return string(text)
}

// ParseMatch reads what String wrote. Errors: not the form, or an attribute or pattern that no configuration takes.
func ParseMatch(text string) (Match, error) {
	var object map[string][]Glob
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		return nil, fmt.Errorf("parse match: %w", err)
	}
	if object == nil {
		return nil, errors.New("parse match: not an object")
	}
	var m Match
	for attribute, globs := range object {
		if !attributeName.MatchString(attribute) || len(globs) == 0 {
			return nil, fmt.Errorf("parse match: attribute %q", attribute)
		}
		for _, g := range globs {
			if complaint := checkGlob(string(g)); complaint != "" {
				return nil, fmt.Errorf("parse match: %s: %q %s", attribute, string(g), complaint)
			}
		}
		m = append(m, Condition{attribute, globs})
	}
	return m.canonical(), nil
}

var (
	attributeName = regexp.MustCompile(`^([a-z0-9]{1,64}|content-type)$`)
	stars         = regexp.MustCompile(`\*+`)
)

// canonical puts a new match into the order that String promises.
func (m Match) canonical() Match {
	slices.SortFunc(m, func(a, b Condition) int { return strings.Compare(a.Attribute, b.Attribute) })
	for i, c := range m {
		for j, g := range c.Any {
			c.Any[j] = Glob(stars.ReplaceAllString(string(g), "*"))
		}
		slices.Sort(c.Any)
		m[i].Any = slices.Compact(c.Any)
	}
	return m
}

// match decodes attributes and their patterns: a list, or one pattern alone.
func (d *decoder) match(v value, dst *Match) {
	var m Match
	for _, e := range d.entries(v) {
		switch {
		case !attributeName.MatchString(e.name):
			d.fail(e.path, e.key, "not the name of an attribute: 1 to 64 of a-z and 0-9, or content-type"+attributeMeant(e.name))
		case d.given(e.value):
			m = append(m, Condition{e.name, d.globs(e.value)})
		}
	}
	*dst = m.canonical()
}

// attributeMeant guesses that a name with other characters is a known one or is meant without them.
func attributeMeant(name string) string {
	best := closest(name, []string{"content-type", "type", "source", "subject"})
	if best == "" {
		best = strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(name))
	}
	if !attributeName.MatchString(best) {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

func (d *decoder) globs(v value) []Glob {
	one := []value{v}
	if d.isList(v) {
		one = d.elements(v)
	}
	out := make([]Glob, 0, len(one))
	for _, e := range one {
		pattern := ""
		d.text(&pattern, checkGlob)(e)
		out = append(out, Glob(pattern))
	}
	if len(one) == 0 {
		d.failAt(v.path, "needs at least one pattern: without any, nothing matches (* matches every value)")
	}
	return out
}

func checkGlob(text string) string {
	switch {
	case text == "":
		return "is empty"
	case !utf8.ValidString(text):
		return "is not UTF-8"
	}
	return ""
}
