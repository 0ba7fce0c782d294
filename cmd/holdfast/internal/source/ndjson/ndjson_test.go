package ndjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func readAll(t *testing.T, r *Reader) (lines []string, numbers []int, err error) {
	t.Helper()
	for {
		line, err := r.Next()
		if err != nil {
			return lines, numbers, err
		}
		lines, numbers = append(lines, string(line)), append(numbers, r.Line())
	}
}

func TestLinesKeepTheirBytesAndNumbers(t *testing.T) {
	const in = "a\n\n b \r\n\r\nlast"
	for name, src := range map[string]io.Reader{
		"whole": strings.NewReader(in), "bytes": iotest.OneByteReader(strings.NewReader(in)), "data with EOF": iotest.DataErrReader(strings.NewReader(in)),
	} {
		t.Run(name, func(t *testing.T) {
			lines, numbers, err := readAll(t, NewReader(src, 10))
			if err != io.EOF || strings.Join(lines, "|") != "a| b \r|last" || numbers[0] != 1 || numbers[1] != 3 || numbers[2] != 5 {
				t.Errorf("lines %q, numbers %v, %v", lines, numbers, err)
			}
		})
	}
}

func TestLinesStayAsTheyWereWhenMoreIsRead(t *testing.T) {
	var in bytes.Buffer
	for i := range 5_000 {
		in.WriteString(strings.Repeat(string(rune('a'+i%26)), i%300+1) + "\n")
	}
	want := strings.Split(strings.TrimSuffix(in.String(), "\n"), "\n")
	r := NewReader(iotest.HalfReader(&in), 300)
	var got [][]byte
	for {
		line, err := r.Next()
		if err != nil {
			break
		}
		got = append(got, line)
	}
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d", len(got), len(want))
	}
	for i := range want {
		if string(got[i]) != want[i] {
			t.Fatalf("line %d is %q, want %q", i+1, got[i], want[i])
		}
	}
}

func TestHalfALineOfABrokenSourceIsNoLine(t *testing.T) {
	broken := errors.New("reset")
	lines, _, err := readAll(t, NewReader(io.MultiReader(strings.NewReader("a\nhalf"), iotest.ErrReader(broken)), 10))
	if !errors.Is(err, broken) || len(lines) != 1 {
		t.Errorf("lines %q, %v", lines, err)
	}
}

func TestOverLongLineIsNamedAndNotReadWhole(t *testing.T) {
	lines, _, err := readAll(t, NewReader(strings.NewReader("12345\n123456\n1\n"), 5))
	if e, ok := errors.AsType[*TooLongError](err); !ok || e.Line != 2 || e.Limit != 5 || len(lines) != 1 {
		t.Errorf("lines %q, %v", lines, err)
	}
	r := NewReader(zeros{}, 1<<20)
	if _, err := r.Next(); err == nil || len(r.buf) > 3<<20 {
		t.Errorf("error %v with %d bytes of buffer", err, len(r.buf))
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestStringsDecodeExactlyOrNotAtAll(t *testing.T) {
	for raw, want := range map[string]string{
		`""`: "", `"plain ü"`: "plain ü", `"a\n\"\\\/\b\f\r\t"`: "a\n\"\\/\b\f\r\t", `"\u00e9\uD83D\uDE00"`: "é😀", `"�\ufffd"`: "��",
	} {
		if got, err := Unquote([]byte(raw)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", raw, got, err)
		}
	}
	for _, raw := range []string{`"\ud800"`, `"\ude00\ud83d"`, `"\ud83dx"`, "\"\xff\"", `1`, `"\ud83d\u0041"`} {
		if got, err := Unquote([]byte(raw)); err == nil {
			t.Errorf("%q is %q", raw, got)
		}
	}
}

func FuzzValidAgreesWithEncodingJSON(f *testing.F) {
	for _, s := range []string{``, ` `, `{}`, `[1,2.5e-3,-0,null,true,false,"a\u00e9\n"]`, `{"a":{"b":[[]]}}`, `01`, `1.`, `-`, `"\x"`, `{"a"}`, `{,}`, `[1,]`, `nul`, "\"\x01\"", `{"a":1,}`, `1 2`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := Valid(b), json.Valid(b); got != want {
			t.Fatalf("Valid(%q) = %v, encoding/json says %v", b, got, want)
		}
	})
}

func TestNestingIsBoundedAsInEncodingJSON(t *testing.T) {
	for _, depth := range []int{9_999, 10_000, 10_001} {
		for _, pair := range [][2]string{{"[", "]"}, {`{"a":`, "}"}} {
			b := []byte(strings.Repeat(pair[0], depth) + "1" + strings.Repeat(pair[1], depth))
			if got, want := Valid(b), json.Valid(b); got != want {
				t.Errorf("%d times %s: %v, encoding/json says %v", depth, pair[0], got, want)
			}
		}
	}
}

func FuzzFieldsAgreesWithEncodingJSON(f *testing.F) {
	for _, s := range []string{`{}`, ` { "a" : 1 , "b":"x" } `, `{"a":[1,{"b":2}]}`, `{"a":1}}`, `{"a":1,}`, `[]`, `{"\u0061":null}`, `{"a":1`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got := map[string]string{}
		err := Fields(b, func(name string, v []byte) error { got[name] = string(v); return nil })
		var want map[string]json.RawMessage
		if werr := json.Unmarshal(b, &want); err == nil && (werr != nil || len(want) != len(got)) {
			t.Fatalf("Fields(%q) = %v, encoding/json says %v, %v", b, got, want, werr)
		}
		for name, v := range want {
			if err == nil && got[name] != string(v) {
				t.Fatalf("field %q of %q is %q, want %q", name, b, got[name], v)
			}
		}
	})
}

func BenchmarkValid(b *testing.B) {
	line := []byte(`{"door":"front","opened":true,"at":"2026-01-02T03:04:05Z","by":{"card":123456,"name":"somebody"},"notes":"` + strings.Repeat("x", 400) + `"}`)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		Valid(line)
	}
}
