package sinks_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"holdfast/sinks"
)

type attrs map[string]string

func (a attrs) Get(name string) string         { return a[name] }
func (a attrs) All() iter.Seq2[string, string] { return maps.All(a) }

var accepted = time.Date(2026, 2, 3, 5, 6, 7, 8_900_000, time.FixedZone("", 3600))

func envelope(body string, key string, a attrs) string {
	it := sinks.Item{ID: uuid.MustParse("0195a000-0000-7000-8000-000000000001"), Accepted: accepted, Key: key, Body: []byte(body)}
	if a != nil {
		it.Attrs = a
	}
	return string(sinks.AppendEnvelope(nil, &it))
}

const head = `{"id":"0195a000-0000-7000-8000-000000000001","accepted":"2026-02-03T04:06:07.008Z"`

func TestEnvelopeShowsABodyAsWhatItIs(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{``, `"body":""`},
		{`{"a": 1}`, `"body":{"a": 1}`},
		{` {"a": 1} `, `"body": {"a": 1} `},
		{"{\"a\": 1}\n", `"body":{"a": 1}`},
		{"{\n\t\"a\": \"x\\n\"\r\n}\n", `"body":{"a":"x\n"}`},
		{"[\r1]", `"body":[1]`},
		{`[1, 2]`, `"body":[1, 2]`},
		{`-12.50e3`, `"body":-12.50e3`},
		{`01`, `"body":"01"`},
		{`door "A" \ open` + "\r\n\x00\x7f", `"body":"door \"A\" \\ open\u000d\n\u0000\u007f"`},
		{"<&> äß\u2028\u2029😀", `"body":"<&> äß\u2028\u2029😀"`},
		{`{"a":1}{"b":2}`, `"body":"{\"a\":1}{\"b\":2}"`},
		{`1,"x":2`, `"body":"1,\"x\":2"`},
		{`"text"`, `"body_base64":"InRleHQi"`},
		{`true`, `"body_base64":"dHJ1ZQ=="`},
		{`null`, `"body_base64":"bnVsbA=="`},
		{"\xff\x00", `"body_base64":"/wA="`},
		{"{\"a\":\"\xff\"}", `"body_base64":"eyJhIjoi/yJ9"`},
	} {
		if got, want := envelope(c.body, "", nil), head+","+c.want+"}"; got != want {
			t.Errorf("envelope of %q:\n got %s\nwant %s", c.body, got, want)
		}
	}
}

func TestEnvelopeHasTypeSourceAndContentTypeApartFromAttributes(t *testing.T) {
	got := envelope("x", "k\n", attrs{"type": "door.open", "source": "plc", "content-type": "text/plain", "b": "2", "a": "\xff", "traceparent": "00-1"})
	want := head + `,"type":"door.open","source":"plc","key":"k\n","attrs":{"a":"\ufffd","b":"2","traceparent":"00-1"},"content_type":"text/plain","body":"x"}`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("envelope (-want +got):\n%s", diff)
	}
	if got, want := envelope("x", "", attrs{"type": "t"}), head+`,"type":"t","body":"x"}`; got != want {
		t.Errorf("envelope without other attributes: %s, want %s", got, want)
	}
}

func TestEnvelopeOfTheDeepestJSONStaysValid(t *testing.T) {
	for _, n := range []int{9_999, 10_000, 10_001} {
		line := envelope(strings.Repeat("[", n)+strings.Repeat("]", n), "", nil)
		if !json.Valid([]byte(line)) {
			t.Errorf("envelope of %d nested arrays is not JSON", n)
		}
	}
}

func TestLineIsOneLineInJSONAndCloudEventsAndTheBodyInRaw(t *testing.T) {
	items := []sinks.Item{{Body: []byte("a\nb")}, {Body: []byte("c")}}
	if got := string(sinks.Raw.AppendLines([]byte("x"), items, "")); got != "xa\nb\nc\n" {
		t.Errorf("raw line %q", got)
	}
	for _, f := range []sinks.Format{sinks.JSON, sinks.CloudEvents} {
		if got := f.AppendLines(nil, items, ""); bytes.Count(got, []byte("\n")) != 2 || got[len(got)-1] != '\n' {
			t.Errorf("%s line %q", f, got)
		}
	}
}

// bodyOf reads an envelope as DECISIONS says: a string body means its bytes, any other value its bytes as they stand.
func bodyOf(t *testing.T, line []byte) []byte {
	var e struct {
		Body   json.RawMessage `json:"body"`
		Base64 *string         `json:"body_base64"`
	}
	if err := json.Unmarshal(line, &e); err != nil {
		t.Fatalf("envelope %q: %v", line, err)
	}
	if e.Base64 != nil {
		b, err := base64.StdEncoding.DecodeString(*e.Base64)
		if err != nil || e.Body != nil {
			t.Fatalf("envelope %q: %v", line, err)
		}
		return b
	}
	var s string
	if json.Unmarshal(e.Body, &s) == nil {
		return []byte(s)
	}
	return e.Body
}

func FuzzEnvelopeIsOneLineThatGivesTheBodyBack(f *testing.F) {
	for _, s := range []string{"", "a\nb", `{"a":1}`, "{\n\"a\":[1,\"\\n\"]}", `"s"`, "null", "\xff", "-0", " 1 ", "[1]\r"} {
		f.Add([]byte(s), "key", "value")
	}
	f.Fuzz(func(t *testing.T, body []byte, key, value string) {
		it := sinks.Item{Body: body, Key: key, Attrs: attrs{"x": value, "type": key, key: value}}
		before := slices.Clone(body)
		line := sinks.AppendEnvelope([]byte("prefix"), &it)[len("prefix"):]
		if !bytes.Equal(before, body) {
			t.Fatal("the body was changed")
		}
		if bytes.ContainsAny(line, "\r\n") || !utf8.Valid(line) {
			t.Fatalf("not one line of UTF-8: %q", line)
		}
		got, want := bodyOf(t, line), body
		if json.Valid(body) && !bytes.Equal(got, want) {
			var c bytes.Buffer
			if err := json.Compact(&c, body); err != nil {
				t.Fatal(err)
			}
			want = c.Bytes()
			c = bytes.Buffer{}
			if err := json.Compact(&c, got); err != nil {
				t.Fatal(err)
			}
			got = c.Bytes()
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("body %q came back as %q", body, got)
		}
	})
}
