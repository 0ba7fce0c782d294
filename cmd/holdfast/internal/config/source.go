package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A source is a file's text by lines, for positions and excerpts.
type source struct {
	lines   []string // without their ends; at least one
	secrets []span   // what excerpts must not show
}

// A span is a piece of one line, in characters from 1, end exclusive.
type span struct{ line, from, to int }

// endOfLine as a span's end takes all that follows.
const endOfLine = 1 << 30

// excerptWidth is how many characters of a line an excerpt shows.
const excerptWidth = 120

func newSource(text string) *source {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimSuffix(l, "\r")
	}
	return &source{lines: lines}
}

// clamp moves a position into the file: the YAML scanner is one off at the ends of some broken texts.
func (s *source) clamp(line, col int) (int, int) {
	line = min(max(line, 1), len(s.lines))
	return line, min(max(col, 1), utf8.RuneCountInString(s.lines[line-1])+1)
}

// excerpt is the line and a caret below the column, with secrets redacted and what a terminal would obey made visible.
func (s *source) excerpt(line, col int) string {
	text, at := s.redact(line, col)
	text, at = window(text, at)
	for i, r := range text {
		switch {
		case r == '\t':
			text[i] = ' '
		case !unicode.IsPrint(r):
			text[i] = utf8.RuneError
		}
	}
	number := fmt.Sprint(line)
	return fmt.Sprintf("  %s | %s\n  %s | %s^", number, string(text),
		strings.Repeat(" ", len(number)), strings.Repeat(" ", at))
}

// redact returns a line without its secrets, and where the column is then, from 0.
func (s *source) redact(line, col int) ([]rune, int) {
	in, at := []rune(s.lines[line-1]), col-1
	hide := sensitive(line, s.lines[line-1])
	for _, h := range s.secrets {
		if h.line == line {
			hide = append(hide, h)
		}
	}
	slices.SortFunc(hide, func(a, b span) int { return a.from - b.from })
	out, caret, next := make([]rune, 0, len(in)), at, 0
	for _, h := range hide {
		from, to := max(h.from-1, next), min(h.to-1, len(in))
		if from >= to || strings.TrimSpace(string(in[from:to])) == "" {
			continue // nothing, or the indentation of what follows
		}
		out = append(out, in[next:from]...)
		if at > from {
			caret = len(out) + max(0, at-to)
			if at >= to {
				caret += len([]rune(redacted))
			}
		}
		out = append(out, []rune(redacted)...)
		next = to
	}
	return append(out, in[next:]...), caret
}

// window cuts a long line to the part around the caret.
func window(text []rune, at int) ([]rune, int) {
	if len(text) <= excerptWidth {
		return text, at
	}
	from := min(max(0, at-excerptWidth/2), len(text)-excerptWidth)
	cut := slices.Clone(text[from : from+excerptWidth])
	if from > 0 {
		cut[0] = '…'
	}
	if from+excerptWidth < len(text) {
		cut[len(cut)-1] = '…'
	}
	return cut, at - from
}
