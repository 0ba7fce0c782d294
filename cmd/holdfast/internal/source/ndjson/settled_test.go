package ndjson

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// piecewise is a producer that does not fill what it is given.
type piecewise struct{ src io.Reader }

func (p piecewise) Read(b []byte) (int, error) { return p.src.Read(b[:min(len(b), 310)]) }

// Lines that are settled make room for others; those that are not stay as they are.
func TestMemoryOfSettledLinesIsUsedAgain(t *testing.T) {
	var text strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&text, "%04d%s\n", i, strings.Repeat("x", 300))
	}
	for name, behind := range map[string]int{"at once": 0, "a few lines late": 8, "never": 1 << 30} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(piecewise{strings.NewReader(text.String())}, 1<<20)
			r.Settled = func() int { return r.Line() - behind }
			starts, lines := map[*byte]bool{}, [][]byte{}
			for {
				line, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				starts[&line[0]] = true
				lines = append(lines, line)
				for i := max(0, len(lines)-min(behind, 50)-1); i < len(lines); i++ {
					if string(lines[i][:4]) != fmt.Sprintf("%04d", i) {
						t.Fatalf("at line %d, line %d became %.10q", len(lines), i, lines[i])
					}
				}
			}
			if again := len(starts) < len(lines); again != (behind < 1<<30) || len(lines) != 5000 {
				t.Errorf("%d lines at %d places", len(lines), len(starts))
			}
		})
	}
}
