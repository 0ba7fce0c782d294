package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// A decoder walks one file's tree into a Config and collects what is wrong on the way. It goes on after a problem, so
// that a person sees them all at once; what it has decoded by then may be nonsense, which finish takes care of.
type decoder struct {
	env      Env
	src      *source
	at       map[string]*token.Token // where the value, or for a missing one the key, of a path is
	found    []located
	warnings []located
}

// located is a problem that has no excerpt yet: all secrets must be known before the first line is shown.
type located struct {
	path      string
	line, col int
	message   string
}

// A value is one node of the tree and the path to it.
type value struct {
	path string
	node ast.Node
	key  *token.Token // nil in a list and at the root
}

// An entry is one key of a mapping with its value.
type entry struct {
	name string
	value
}

// fields says what decodes each key of a mapping.
type fields map[string]func(value)

func newDecoder(text string, env Env) *decoder {
	return &decoder{env: env, src: newSource(text), at: map[string]*token.Token{}}
}

// finish renders the problems, or hands out the configuration.
func (d *decoder) finish(name string, cfg *Config) (*Config, error) {
	if len(d.found) > 0 {
		return nil, &Error{File: name, Problems: d.render(d.found)}
	}
	for _, w := range d.render(d.warnings) {
		cfg.Warnings = append(cfg.Warnings, w.head(name))
	}
	return cfg, nil
}

func (d *decoder) render(ls []located) []Problem {
	ps := make([]Problem, 0, len(ls))
	for _, l := range ls {
		line, col := d.src.clamp(l.line, l.col)
		ps = append(ps, Problem{printable(l.path), line, col, printable(l.message), d.src.excerpt(line, col)})
	}
	return byPosition(ps)
}

func (d *decoder) report(path string, line, col int, message string) {
	d.found = append(d.found, located{path, line, col, message})
}

// fail reports a problem at a token, at the start of the file without one.
func (d *decoder) fail(path string, t *token.Token, message string) {
	line, col := position(t)
	d.report(path, line, col, message)
}

// failAt reports a problem with the value at a path, or with the nearest one around it that the file has.
func (d *decoder) failAt(path, message string) { d.fail(path, d.where(path), message) }

func (d *decoder) warnAt(path, message string) {
	line, col := position(d.where(path))
	d.warnings = append(d.warnings, located{path, line, col, message})
}

func (d *decoder) where(path string) *token.Token {
	for path != "" {
		if t, ok := d.at[path]; ok {
			return t
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return nil
}

// either is the first of two paths that the file has, else the second.
func (d *decoder) either(a, b string) string {
	if _, given := d.at[a]; given {
		return a
	}
	return b
}

// line is the source line of a token.
func (d *decoder) line(t *token.Token) string {
	line, _ := d.src.clamp(position(t))
	return d.src.lines[line-1]
}

func position(t *token.Token) (line, col int) {
	if t == nil || t.Position == nil {
		return 1, 1
	}
	return t.Position.Line, t.Position.Column
}

// start is the token at which a node begins to the eye: the first key of a mapping rather than its colon.
func start(n ast.Node) *token.Token {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return start(n.Values[0])
		}
	case *ast.MappingValueNode:
		return start(n.Key)
	}
	return n.GetToken()
}

// mapping decodes a mapping by a table of its keys. A key that the table lacks is a problem. It returns whether there is
// a mapping at all, so that nobody misses a key in what is none.
func (d *decoder) mapping(v value, fs fields) bool {
	d.apply(v, d.entries(v), fs)
	_, ok := v.node.(ast.MapNode)
	return ok
}

func (d *decoder) apply(v value, entries []entry, fs fields) {
	known := slices.Sorted(maps.Keys(fs))
	for _, e := range entries {
		decode, ok := fs[e.name]
		if !ok {
			d.fail(e.path, e.key, "unknown key"+didYouMean(e.name, known))
			continue
		}
		if d.given(e.value) {
			decode(e.value)
		}
	}
}

// given reports a key without a value: whether that should mean the default, nothing or zero, nobody can tell.
func (d *decoder) given(v value) bool {
	if v.node != nil && v.node.Type() != ast.NullType {
		return true
	}
	message := "has no value: give it one or leave the key out"
	if v.path == "sinks" {
		message = "must not be null: leave it out for one sink to stdout, or write {} for no sinks"
	}
	d.fail(v.path, v.key, message)
	return false
}

// entries returns the keys of a mapping in the file's order, each once, and reports what is not a plain mapping.
func (d *decoder) entries(v value) []entry {
	m, ok := v.node.(ast.MapNode)
	if !ok {
		d.fail(v.path, start(v.node), "must be a mapping of keys"+d.instead(v.node))
		return nil
	}
	var out []entry
	first := map[string]int{}
	for it := m.MapRange(); it.Next(); {
		key := it.Key().GetToken()
		if !plainKey(it.Key()) {
			d.fail(v.path, key, "anchors, merges, tags and complex keys are not supported")
			continue
		}
		path := join(v.path, key.Value)
		if line, twice := first[key.Value]; twice {
			d.fail(path, key, fmt.Sprintf("given twice, first in line %d", line))
			continue
		}
		first[key.Value] = key.Position.Line
		d.at[path] = key
		out = append(out, entry{key.Value, value{path, it.Value(), key}})
	}
	return out
}

// elements returns the members of a list.
func (d *decoder) elements(v value) []value {
	list, ok := v.node.(*ast.SequenceNode)
	if !ok {
		d.fail(v.path, start(v.node), "must be a list"+d.instead(v.node))
		return nil
	}
	out := make([]value, 0, len(list.Values))
	for i, n := range list.Values {
		path := fmt.Sprintf("%s[%d]", v.path, i)
		d.at[path] = start(n)
		out = append(out, value{path, n, nil})
	}
	return out
}

// isList tells whether a value may be taken by elements.
func (d *decoder) isList(v value) bool {
	_, ok := v.node.(*ast.SequenceNode)
	return ok
}

// instead says what a node is where it should be something else.
func (d *decoder) instead(n ast.Node) string {
	switch n.(type) {
	case ast.MapNode:
		return ", not a mapping"
	case *ast.SequenceNode:
		return ", not a list"
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return "; anchors, aliases and tags are not supported"
	}
	return ", not a single value"
}

// plainKey tells whether a key is a word as it stands.
func plainKey(k ast.MapKeyNode) bool {
	switch k.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return true
	}
	return false
}

var simpleName = regexp.MustCompile(`^[\w-]{1,64}$`)

// join is the path of a key. A key that is not a simple word is quoted and cut.
func join(path, name string) string {
	if !simpleName.MatchString(name) {
		if utf8.RuneCountInString(name) > 64 {
			name = string([]rune(name)[:64]) + "…"
		}
		name = fmt.Sprintf("%q", name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}
