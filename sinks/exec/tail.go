package exec

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxTail is how many bytes of stderr an error shows.
const maxTail = 1024

// A tail keeps the end of what is written to it. It is not safe for concurrent use: os/exec writes, and is done with that
// when the process is gone.
type tail struct{ kept []byte }

// Write never fails.
func (t *tail) Write(b []byte) (int, error) {
	t.kept = append(t.kept, b[max(0, len(b)-maxTail):]...)
	if over := len(t.kept) - maxTail; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(b), nil
}

// String returns it as one line of at most maxTail bytes: no control characters, no invalid UTF-8. A nil tail is empty.
func (t *tail) String() string {
	if t == nil {
		return ""
	}
	kept := t.kept
	for len(kept) > 0 && !utf8.RuneStart(kept[0]) { // the rest of a character that was cut
		kept = kept[1:]
	}
	text := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == utf8.RuneError, !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, string(kept))
	return strings.Join(strings.Fields(text), " ")
}
