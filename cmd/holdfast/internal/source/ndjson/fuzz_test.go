package ndjson

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"
)

// FuzzReader: however the source cuts it, a text has the same lines, which put together are the text; none is longer than
// the limit.
func FuzzReader(f *testing.F) {
	f.Add([]byte("a\n\n b \r\n\r\nlast"), 10)
	f.Add(bytes.Repeat([]byte("x"), 9000), 8999)
	f.Fuzz(func(t *testing.T, text []byte, limit int) {
		if limit < 1 || limit > 1<<20 {
			return
		}
		lines, numbers, err := readAll(t, NewReader(bytes.NewReader(text), limit))
		for name, src := range map[string]io.Reader{"bytes": iotest.OneByteReader(bytes.NewReader(text)), "data with EOF": iotest.DataErrReader(bytes.NewReader(text))} {
			got, at, gotErr := readAll(t, NewReader(src, limit))
			if len(got) != len(lines) || (err == io.EOF) != (gotErr == io.EOF) {
				t.Fatalf("%s: %d lines, %v; want %d, %v", name, len(got), gotErr, len(lines), err)
			}
			for i := range got {
				if got[i] != lines[i] || at[i] != numbers[i] {
					t.Fatalf("%s: line %d is %q at %d", name, i, got[i], at[i])
				}
			}
		}
		want := bytes.Split(text, []byte("\n"))
		for i, n := range numbers {
			if lines[i] != string(want[n-1]) || len(lines[i]) > limit {
				t.Fatalf("line %d is %q, want %q", n, lines[i], want[n-1])
			}
		}
	})
}
