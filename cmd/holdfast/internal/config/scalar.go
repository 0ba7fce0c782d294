package config

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// A scalar is one single value: as the file has it, which is what messages quote, and expanded.
type scalar struct {
	value
	at        *token.Token
	raw, text string
	warn      string // about the first careless file that a reference read
}

// scalar expands a single value. What type YAML would give it does not matter: the key's decoder decides, so that an
// expanded number is as good as a written one.
func (d *decoder) scalar(v value) (scalar, bool) {
	s := scalar{value: v, at: v.node.GetToken()}
	switch n := v.node.(type) {
	case *ast.LiteralNode:
		s.raw = n.Value.Value
	case *ast.StringNode:
		s.raw = n.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		s.raw = s.at.Value
	case *ast.NullNode:
		d.fail(v.path, s.at, "has no value")
		return s, false
	default:
		d.fail(v.path, start(n), "must be a single value"+d.instead(n))
		return s, false
	}
	d.at[v.path] = s.at
	text, bad := expand(s.raw, func(ref string) (string, error) {
		value, warn, err := d.env.resolve(ref)
		s.warn = cmp.Or(s.warn, warn)
		return value, err
	})
	s.text = text
	for _, b := range bad {
		d.badReference(s, b)
	}
	return s, len(bad) == 0
}

// badReference reports a reference at its own column, where the line shows it, else at the value's.
func (d *decoder) badReference(s scalar, b badReference) {
	line, col := d.src.clamp(position(s.at))
	runes := []rune(d.src.lines[line-1])
	tail := string(runes[min(col-1, len(runes)):])
	if i := strings.Index(tail, b.text); i >= 0 {
		col += utf8.RuneCountInString(tail[:i])
	}
	d.report(s.path, line, col, b.message)
}

// wrong reports that a value "is not a duration", quoting what the file says.
func (d *decoder) wrong(s scalar, complaint string) {
	raw := s.raw
	if utf8.RuneCountInString(raw) > 60 {
		raw = string([]rune(raw)[:60]) + "…"
	}
	quoted := strconv.Quote(raw)
	if s.raw != s.text {
		quoted += ", expanded,"
	}
	d.fail(s.path, s.at, quoted+" "+complaint)
}

// text decodes a text that is not empty; check returns what is wrong with it, nothing if it is good.
func (d *decoder) text(dst *string, check func(string) string) func(value) {
	return func(v value) {
		s, ok := d.scalar(v)
		if !ok {
			return
		}
		complaint := ""
		switch {
		case s.text == "":
			complaint = "is empty"
		case strings.ContainsRune(s.text, 0):
			complaint = "holds a NUL"
		case check != nil:
			complaint = check(s.text)
		}
		if complaint != "" {
			d.wrong(s, complaint)
			return
		}
		*dst = s.text
	}
}

// secret decodes a text that no message shows. Written into the file, it is worth a warning.
func (d *decoder) secret(dst *Secret, check func(string) string) func(value) {
	return func(v value) {
		s, ok := d.hidden(dst, check, v)
		if !inlineSecret(s.raw) {
			return
		}
		d.src.conceal(s.at)
		if ok {
			d.warnAt(v.path, "the secret is written into the file: ${NAME}, ${file:/path} and ${cred:name} keep it out")
		}
	}
}

// hidden decodes a text that no message quotes, though the excerpt of its line may show it.
func (d *decoder) hidden(dst *Secret, check func(string) string, v value) (scalar, bool) {
	s, ok := d.scalar(v)
	if !ok {
		return s, false
	}
	complaint := "the value is empty"
	if s.text != "" {
		complaint = check(s.text)
	}
	if complaint != "" {
		d.fail(s.path, s.at, complaint)
		return s, false
	}
	if s.warn != "" {
		d.warnAt(s.path, s.warn)
	}
	*dst = NewSecret(s.text)
	return s, true
}

// conceal keeps a token out of the excerpts: all from its start to the start of the next one.
func (s *source) conceal(t *token.Token) {
	line, col := position(t)
	end, endCol := len(s.lines), endOfLine
	if t.Next != nil {
		end, endCol = position(t.Next)
	}
	for l := line; l <= end; l++ {
		h := span{l, 1, endOfLine}
		if l == line {
			h.from = col
		}
		if l == end {
			h.to = endCol
		}
		s.secrets = append(s.secrets, h)
	}
}

// choice decodes one of a few words. noun is what such a word is: "a sink type".
func choice[T ~string](d *decoder, dst *T, noun string, known ...T) func(value) {
	return func(v value) {
		s, ok := d.scalar(v)
		if !ok {
			return
		}
		words := make([]string, len(known))
		for i, k := range known {
			if words[i] = string(k); words[i] == s.text {
				*dst = k
				return
			}
		}
		d.wrong(s, "is not "+noun+didYouMean(s.text, words))
	}
}

// boolean decodes true or false.
func (d *decoder) boolean(dst *bool) func(value) {
	return func(v value) {
		s, ok := d.scalar(v)
		if ok && s.text != "true" && s.text != "false" {
			d.wrong(s, "is not true or false")
		}
		*dst = s.text == "true"
	}
}

var wholeNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

// whole decodes a whole number within bounds, both included.
func whole[T int | int64](d *decoder, dst *T, lo, hi int64) func(value) {
	return func(v value) {
		s, ok := d.scalar(v)
		if !ok {
			return
		}
		n, err := strconv.ParseInt(s.text, 10, 64)
		switch {
		case !wholeNumber.MatchString(s.text):
			d.wrong(s, "is not a whole number")
		case err != nil || n < lo || n > hi:
			d.wrong(s, "is out of range: "+between(lo, hi, func(n int64) string { return strconv.FormatInt(n, 10) }))
		default:
			*dst = T(n)
		}
	}
}

// share decodes a number from 0 to 1.
func (d *decoder) share(dst *float64) func(value) {
	return func(v value) {
		s, ok := d.scalar(v)
		if !ok {
			return
		}
		f, err := strconv.ParseFloat(s.text, 64)
		if err != nil || !(f >= 0 && f <= 1) {
			d.wrong(s, "is not a number from 0 to 1")
			return
		}
		*dst = f
	}
}

// size decodes bytes, at least lo.
func (d *decoder) size(dst *int64, lo int64) func(value) {
	return func(v value) {
		s, ok := d.scalar(v)
		if !ok {
			return
		}
		n, err := parseSize(s.text)
		switch {
		case err != nil:
			d.wrong(s, err.Error())
		case n < lo:
			d.wrong(s, "is out of range: "+between(lo, math.MaxInt64, showSize))
		default:
			*dst = n
		}
	}
}

// duration decodes a time span, at least lo.
func (d *decoder) duration(dst *time.Duration, lo time.Duration) func(value) {
	return func(v value) {
		s, ok := d.scalar(v)
		if !ok {
			return
		}
		t, err := parseDuration(s.text)
		switch {
		case err != nil:
			d.wrong(s, err.Error())
		case t < lo:
			d.wrong(s, "is out of range: "+between(lo, math.MaxInt64, time.Duration.String))
		default:
			*dst = t
		}
	}
}

// between says which values are good.
func between[T int64 | time.Duration](lo, hi T, show func(T) string) string {
	if hi == math.MaxInt64 {
		return "at least " + show(lo)
	}
	return fmt.Sprintf("%s to %s", show(lo), show(hi))
}
