package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"holdfast/cmd/holdfast/internal/client"
)

// notice tells people something on standard error.
func (a *app) notice(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintln(a.Err, clean(fmt.Sprintf(format, args...)))
	}
}

// show prints doc as JSON, or calls table; a failed write is ExitIO.
func (a *app) show(doc any, table func(w io.Writer)) error {
	var b bytes.Buffer
	if a.output == "json" {
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(doc); err != nil {
			return err
		}
	} else {
		table(&b)
	}
	return a.write(b.Bytes())
}

func (a *app) write(b []byte) error {
	if _, err := a.Out.Write(b); err != nil {
		return &ExitError{Code: ExitIO, Err: fmt.Errorf("standard output: %w", err)}
	}
	return nil
}

// table aligns rows under a head, with two blanks between columns.
func table(w io.Writer, head []string, rows [][]string) {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{head}, rows...) {
		for i, cell := range row {
			if i > 0 {
				t.Write([]byte{'\t'})
			}
			io.WriteString(t, clean(cell))
		}
		t.Write([]byte{'\n'})
	}
	t.Flush()
	for line := range strings.Lines(b.String()) {
		io.WriteString(w, strings.TrimRight(line, " \n")+"\n")
	}
}

// pairs prints a name and a value per line, leaving out the empty values.
func pairs(w io.Writer, kv ...string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := 0; i < len(kv); i += 2 {
		if kv[i+1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", kv[i], clean(kv[i+1]))
		}
	}
	t.Flush()
}

// clean makes text from elsewhere fit for one line of a terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return '\uFFFD'
		}
		return r
	}, s)
}

// cleanLines is clean, line by line. Tabs stay, for an excerpt's caret.
func cleanLines(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// short cuts s to n runes.
func short(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// count groups the digits of n: 1,234,567.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size is n bytes for people: 512 B, 12.3 MiB.
func size(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v, unit := float64(n), 0
	for v >= 1023.95 && unit < 5 {
		v, unit = v/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", v, " KMGTP"[unit])
}

// span is a duration for people, in its two largest units.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + span(-d)
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// age is how long ago t was, or - if there is no t.
func (a *app) age(t client.Time) string {
	if t.IsZero() {
		return "-"
	}
	return span(a.Now().Sub(t.Time))
}

// until is how long it is until t: nothing if there is no t, "now" if it has come.
func (a *app) until(t client.Time) string {
	switch left := t.Sub(a.Now()); {
	case t.IsZero():
		return ""
	case left < time.Second:
		return "now"
	default:
		return "in " + span(left)
	}
}

// cause is the text of an error without what all of them begin with.
func cause(text string) string { return strings.TrimPrefix(text, "delivery failed: ") }

// moment is a time in full, or nothing.
func moment(t client.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// dash stands in a table for an empty cell.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
