package config_test

import (
	"strings"
	"testing"
	"time"

	"holdfast/cmd/holdfast/internal/config"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestAStarMatchesAnythingAndAllElseItself(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		glob, yes, no string // values, separated by |
	}{
		{"door", "door", "|doors|adoor|Door|doo"},
		{"*", "|x|a.b\nc|*", ""},
		{"door.*", "door.|door.open|door.a.b", "door|doors.x|a.door.b"},
		{"*.open", ".open|a.b.open|.open.open", "open|a.open.|a.opens"},
		{"a*a", "aa|aba|aaa", "a|ab|ba"},
		{"*ab*ab*", "abab|xabyabz|aabab", "ab|aba|abba"},
		{"a*b*c", "abc|axbxc|abcbc|abbcc", "ac|acb|ab|abcd"},
		{"a**b", "ab|a.b", "a|b"},
		{"?[a].+", "?[a].+", "xa.+|?a.+"},
		{"é*", "é|éa", "e|\xc3"},
	} {
		for i, values := range []string{c.yes, c.no} {
			if i == 1 && values == "" {
				continue
			}
			for v := range strings.SplitSeq(values, "|") {
				if got := config.Glob(c.glob).Matches(v); got != (i == 0) {
					t.Errorf("%q matches %q: %v", c.glob, v, got)
				}
			}
		}
	}
}

// attributes is a getter over a map.
func attributes(m map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}

// Guarantee B9, in part: what a match makes of attributes.
func TestAMatchIsAndOverAttributesAndOrInAList(t *testing.T) { // not parallel: it counts allocations
	m := parse(t, `{version: 1, sinks: {a: {type: stdout, match: {type: ["door.*", alarm], user: "*"}}}}`).Sinks[0].Delivery.Match
	for _, c := range []struct {
		attrs map[string]string
		want  bool
	}{
		{map[string]string{"type": "door.open", "user": "x"}, true},
		{map[string]string{"type": "alarm", "user": "", "more": "x"}, true},
		{map[string]string{"type": "alarm"}, false},
		{map[string]string{"user": "x"}, false},
		{map[string]string{"type": "alarms", "user": "x"}, false},
		{nil, false},
	} {
		if got := m.Matches(attributes(c.attrs)); got != c.want {
			t.Errorf("%v: %v", c.attrs, got)
		}
	}
	if !(config.Match)(nil).Matches(attributes(nil)) {
		t.Error("no match is not every item")
	}
	if n := testing.AllocsPerRun(10, func() { m.Matches(func(string) (string, bool) { return "door.open", true }) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// A pattern of many stars against a value that almost matches is what makes a matcher that goes back take for ever.
func TestMatchingTakesLinearTime(t *testing.T) {
	t.Parallel()
	for _, glob := range []string{strings.Repeat("a*", 50_000) + "b", strings.Repeat("*a", 50_000) + "b", "*" + strings.Repeat("a", 50_000) + "b*"} {
		began := time.Now()
		if config.Glob(glob).Matches(strings.Repeat("a", 1<<20)) {
			t.Errorf("%.20s matches", glob)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%.20s… took %v", glob, took)
		}
	}
}

// The stored form of a match is read for as long as there are stores: these texts never change.
func TestAMatchIsStoredInOneForm(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{}`:                       `{}`,
		`{type: b}`:                `{"type":["b"]}`,
		`{type: [b, a, b, "***"]}`: `{"type":["*","a","b"]}`,
		`{b: "\"\\<\u2028é", a: 1, content-type: "*/**"}`: `{"a":["1"],"b":["\"\\\u003c\u2028é"],"content-type":["*/*"]}`,
	} {
		m := parse(t, "version: 1\nsinks: {a: {type: stdout, match: "+in+"}}\n").Sinks[0].Delivery.Match
		if m.String() != want {
			t.Errorf("%s is %s, want %s", in, m, want)
		}
		again, err := config.ParseMatch(want)
		if diff := cmp.Diff(m, again, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("%s reads as %v, %v", want, again, err)
		}
	}
	for _, text := range []string{"", "null", "[]", `{"type":"a"}`, `{"type":[]}`, `{"type":null}`, `{"Type":["a"]}`, `{"type":[""]}`, `{} {}`} {
		if m, err := config.ParseMatch(text); err == nil {
			t.Errorf("%q reads as %v", text, m)
		}
	}
}

// FuzzGlob holds the matcher against the definition: a table over all prefixes of pattern and value.
func FuzzGlob(f *testing.F) {
	for _, seed := range [][2]string{{"a*b*c", "abcbc"}, {"*ab*ab*", "aabab"}, {"**", ""}, {"", "x"}, {"a*a", "a"}, {"é*\xff", "é\xff"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, glob, value string) {
		if len(glob)*len(value) > 1<<20 {
			return
		}
		if got, want := config.Glob(glob).Matches(value), defined(glob, value); got != want {
			t.Errorf("%q matches %q: %v, want %v", glob, value, got, want)
		}
	})
}

// FuzzParseMatch holds that what is read is in its canonical form, and reads as itself.
func FuzzParseMatch(f *testing.F) {
	f.Add(`{"type":["b","a","**"],"a":["x"]}`)
	f.Add(`{"type":["a"],"type":["\ud800"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		m, err := config.ParseMatch(text)
		if err != nil {
			return
		}
		again, err := config.ParseMatch(m.String())
		if err != nil || again.String() != m.String() || !cmp.Equal(m, again) {
			t.Errorf("%s reads as %v, %v", m, again, err)
		}
	})
}

// defined[j] after i bytes of the pattern: they match the first j bytes of the value.
func defined(glob, value string) bool {
	row := make([]bool, len(value)+1)
	row[0] = true
	for i := range len(glob) {
		next := make([]bool, len(value)+1)
		next[0] = row[0] && glob[i] == '*'
		for j := range len(value) {
			if glob[i] == '*' {
				next[j+1] = row[j+1] || next[j]
			} else {
				next[j+1] = row[j] && glob[i] == value[j]
			}
		}
		row = next
	}
	return row[len(value)]
}
