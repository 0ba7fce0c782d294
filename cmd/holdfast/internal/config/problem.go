package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Problem is one thing that is wrong with a file. Line and Col count from 1, Col in characters.
type Problem struct {
	Path    string // sinks.crm.url; empty for the file as a whole
	Line    int
	Col     int
	Message string // with the suggestion, where there is one
	Excerpt string // the source line and a caret below the column, two lines; secrets are redacted
}

// An Error is everything that is wrong with one file: at least one problem, sorted by position.
type Error struct {
	File     string
	Problems []Problem
}

// maxShown bounds the text of an Error: who has more to mend mends these first.
const maxShown = 50

// Error renders the problems as "file:line:col: path: message", each with its excerpt on the lines below.
func (e *Error) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i == maxShown {
			fmt.Fprintf(&b, "\nand %d more", len(e.Problems)-i)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.head(e.File))
		b.WriteByte('\n')
		b.WriteString(p.Excerpt)
	}
	return b.String()
}

// head is the problem's first line.
func (p Problem) head(file string) string {
	at := fmt.Sprintf("%s:%d:%d: ", file, p.Line, p.Col)
	if p.Path == "" {
		return at + p.Message
	}
	return at + p.Path + ": " + p.Message
}

// printable is a text that a terminal only shows: a reference in a message holds whatever the file does.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return utf8.RuneError
	}, text)
}

// byPosition sorts problems as a reader of the file meets them and drops repetitions.
func byPosition(ps []Problem) []Problem {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return slices.Compact(ps)
}
