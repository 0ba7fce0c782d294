package harness

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// String is a ratio with its range, as 0.85 [0.80, 0.91].
func (s Spread) String() string { return s.Format("%.2f") }

// Format writes each number by a verb of fmt; - where there is none.
func (s Spread) Format(one string) string {
	if s.N == 0 {
		return "-"
	}
	if s.N == 1 {
		return fmt.Sprintf(one, s.Median)
	}
	return fmt.Sprintf(one+" ["+one+", "+one+"]", s.Median, s.Min, s.Max)
}

// Count groups the digits of a whole number: 1,234,567.
func Count(v float64) string {
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// A Table writes aligned columns; cells of a row have tabs between.
type Table struct{ tw *tabwriter.Writer }

// NewTable begins one with an empty line and its head.
func NewTable(w io.Writer, head string) Table {
	fmt.Fprintln(w)
	t := Table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	fmt.Fprintln(t.tw, head)
	return t
}

// Row adds one.
func (t Table) Row(cells ...string) { fmt.Fprintln(t.tw, strings.Join(cells, "\t")) }

// End writes it all.
func (t Table) End() { t.tw.Flush() }
