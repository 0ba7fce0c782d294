package ndjson

import (
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is encoding/json's bound on nesting.
const maxDepth = 10_000

// A SyntaxError says where a text stops being JSON.
type SyntaxError struct {
	Offset int // bytes before the first one that does not fit
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("not JSON from byte %d on", e.Offset) }

// ContentType returns what a line that nobody described is: application/json if it parses as that, else text/plain.
func ContentType(line []byte) string {
	if Valid(line) && utf8.Valid(line) {
		return "application/json"
	}
	return "text/plain"
}

// Valid reports whether b is one JSON value, by the grammar of RFC 8259 and as encoding/json reads it, in a fraction of
// its time.
func Valid(b []byte) bool {
	end, ok := value(b, space(b, 0), 0)
	return ok && space(b, end) == len(b)
}

// Fields calls field for each member of the object that b is, in their order, with the bytes of its value as they
// stand, and stops at its first error. Errors: *SyntaxError, Unquote's for a name, and field's own, unwrapped. It may
// come after some members have been seen.
func Fields(b []byte, field func(name string, value []byte) error) error {
	i := space(b, 0)
	if i == len(b) || b[i] != '{' {
		return &SyntaxError{i}
	}
	return members(b, i, '}', field)
}

// Elements calls element for each element of the array that b is, as Fields does for an object.
func Elements(b []byte, element func(value []byte) error) error {
	i := space(b, 0)
	if i == len(b) || b[i] != '[' {
		return &SyntaxError{i}
	}
	return members(b, i, ']', func(_ string, v []byte) error { return element(v) })
}

// members walks the object or array that opens at b[i].
func members(b []byte, i int, closing byte, field func(string, []byte) error) error {
	i = space(b, i+1)
	for first := true; ; first = false {
		if i < len(b) && b[i] == closing && first {
			return ended(b, i+1)
		}
		name := ""
		if closing == '}' {
			start := i
			var ok bool
			if i, ok = nameEnd(b, i); !ok {
				return &SyntaxError{i}
			}
			text, err := Unquote(b[start:i])
			if err != nil {
				return err
			}
			name = string(text)
			i = space(b, space(b, i)+1) // over the colon that nameEnd saw
		}
		end, ok := value(b, i, 1)
		if !ok {
			return &SyntaxError{end}
		}
		if err := field(name, b[i:end:end]); err != nil {
			return err
		}
		switch i = space(b, end); {
		case i < len(b) && b[i] == closing:
			return ended(b, i+1)
		case i == len(b) || b[i] != ',':
			return &SyntaxError{i}
		}
		i = space(b, i+1)
	}
}

func ended(b []byte, i int) error {
	if i = space(b, i); i < len(b) {
		return &SyntaxError{i}
	}
	return nil
}

// Unquote returns the UTF-8 bytes of a JSON string, of which only the surroundings were checked: raw starts and ends
// with a quote. It refuses what has no exact meaning: bytes that are not UTF-8, and halves of surrogate pairs. The
// result shares raw's memory if nothing had to be decoded.
func Unquote(raw []byte) ([]byte, error) {
	if len(raw) < 2 || raw[0] != '"' {
		return nil, errors.New("is not a string")
	}
	if !utf8.Valid(raw) {
		return nil, errors.New("is not UTF-8")
	}
	raw = raw[1 : len(raw)-1]
	i := indexEscape(raw)
	if i < 0 {
		return raw, nil
	}
	out := append(make([]byte, 0, len(raw)), raw[:i]...)
	for i < len(raw) {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			i++
			continue
		}
		r, n := unescape(raw[i:])
		if n == 0 {
			return nil, errors.New("holds half of a surrogate pair")
		}
		out = utf8.AppendRune(out, r)
		i += n
	}
	return out, nil
}

func indexEscape(b []byte) int {
	for i, c := range b {
		if c == '\\' {
			return i
		}
	}
	return -1
}

// unescape reads the escape that b starts with, and how long it is: 0 for a lone surrogate.
func unescape(b []byte) (rune, int) {
	switch b[1] {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		r := hex4(b[2:])
		if !utf16.IsSurrogate(r) {
			return r, 6
		}
		if len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
			if pair := utf16.DecodeRune(r, hex4(b[8:])); pair != utf8.RuneError {
				return pair, 12
			}
		}
		return 0, 0
	}
	return rune(b[1]), 2
}

func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		switch {
		case c <= '9':
			r = r<<4 | rune(c-'0')
		default:
			r = r<<4 | rune(c|0x20-'a'+10)
		}
	}
	return r
}
