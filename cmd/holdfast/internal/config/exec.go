package config

import (
	"regexp"
	"strings"
)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (d *decoder) execFields(x *Exec) fields {
	return fields{
		"command": func(v value) { d.command(v, x) },
		"dir":     d.text(&x.Dir, nil),
		"env":     func(v value) { d.environment(v, x) },
	}
}

// command decodes the program and its arguments, which, unlike the program, may be empty.
func (d *decoder) command(v value, x *Exec) {
	if !d.isList(v) {
		d.fail(v.path, start(v.node), "must be a list of the program and its arguments, like [/usr/bin/logger, -t, holdfast]: there is no shell")
		return
	}
	elements := d.elements(v)
	for i, e := range elements {
		s, ok := d.scalar(e)
		switch {
		case !ok:
		case i == 0 && s.text == "":
			d.wrong(s, "is empty")
		case strings.ContainsRune(s.text, 0):
			d.wrong(s, "holds a NUL")
		}
		x.Command = append(x.Command, s.text)
	}
	if len(elements) == 0 {
		d.failAt(v.path, "needs at least the program")
	}
}

// environment decodes variables. All are kept as Secrets; by its name, some may not stand in the file without a warning.
func (d *decoder) environment(v value, x *Exec) {
	x.Env = map[string]Secret{}
	for _, e := range d.entries(v) {
		switch {
		case !variableName.MatchString(e.name):
			d.fail(e.path, e.key, "not the name of an environment variable")
		case d.given(e.value):
			x.Env[e.name] = d.named(e.value, e.name, checkVariable)
		}
	}
}

func checkVariable(text string) string {
	if strings.ContainsRune(text, 0) {
		return "a variable cannot hold a NUL"
	}
	return ""
}
