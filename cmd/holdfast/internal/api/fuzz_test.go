package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"holdfast/queue"
	"holdfast/sinks"
	"holdfast/store"
)

// Guarantee A6, in part: whatever comes, the decoder names the line or takes the envelope for what encoding/json takes it.
func FuzzEnvelope(f *testing.F) {
	for _, s := range []string{
		`{"body":1}`, `{"body":"a\u00e9\ud83d\ude00","key":"k","attrs":{"a":"b"},"type":"t","source":"s","content_type":"c","id":"i"}`,
		`{"body_base64":"AP8="}`, `{"body":null,"idempotency_key":"x","accepted":1}`, `{"body":[1,{"a":" b "}] }`, `{"body":1,"ttl":null}`, `[]`, `{"body":"\ud800"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before := string(text)
		it, err := decodeEnvelope(text, 7, &head{attrs: map[string]string{"type": "default"}, key: "default"})
		if string(text) != before {
			t.Fatal("the line was changed")
		}
		if err != nil {
			if p := err.(*Problem); len(p.Errors) != 1 || p.Errors[0].Line != 7 || p.Code != Malformed {
				t.Fatalf("%+v", p)
			}
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(text, &want); err != nil || !utf8.Valid(text) {
			t.Fatalf("taken, but encoding/json says %v: %q", err, text)
		}
		if body := want["body"]; body != nil && body[0] != '"' && string(it.Body) != string(body) {
			t.Fatalf("body %q, want %q", it.Body, body)
		}
		var s string
		if json.Unmarshal(want["body"], &s) == nil && len(want["body"]) > 0 && want["body"][0] == '"' && string(it.Body) != s {
			t.Fatalf("body %q, want %q", it.Body, s)
		}
		if len(it.Body) == 0 || it.Attrs.Get("content-type") == "" {
			t.Fatalf("%+v", it)
		}
	})
}

// What goes out as an envelope comes in as the same item, but for the blanks around a JSON body: they are not part of the
// value that it is there.
func FuzzEnvelopeRoundTrip(f *testing.F) {
	f.Add([]byte("text"), "k", "t", "v")
	f.Add([]byte(`{"a": 1}`), "", "", "")
	f.Add([]byte(` 0`), "", "", "")
	f.Add([]byte(`"a"`), "k", "t", "é")
	f.Add([]byte{0xff}, "", "x", "")
	f.Fuzz(func(t *testing.T, body []byte, key, kind, value string) {
		if len(body) == 0 || !utf8.ValidString(key) || !utf8.ValidString(kind) || !utf8.ValidString(value) || strings.ContainsAny(string(body), "\r\n") {
			return
		}
		attrs := map[string]string{"content-type": "x/y"}
		for name, v := range map[string]string{"type": kind, "site": value} {
			if v != "" {
				attrs[name] = v
			}
		}
		want := queue.Item{Attrs: store.MakeAttrs(attrs), Key: key, IdempotencyKey: uuid.Nil.String(), Body: body}
		line := sinks.AppendEnvelope(nil, &sinks.Item{Accepted: time.Unix(0, 0), Key: key, Attrs: want.Attrs, Body: body})
		got, err := decodeEnvelope(line, 1, &head{attrs: map[string]string{}})
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if json.Valid(body) && bytes.Equal(got.Body, bytes.Trim(body, " \t")) {
			want.Body = got.Body
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzHead(f *testing.F) {
	f.Add("Idempotency-Key", `"a\"b"`, "Prefer", "wait=3, x")
	f.Add("Holdfast-Attr-A", "v", "Content-Type", "application/x-ndjson; charset=utf-8")
	f.Add("Holdfast-Ttl", "7d1h", "Holdfast-Not-Before", "2026-01-02T03:04:05Z")
	f.Add("Ce-Id", "a%20b", "Content-Encoding", "gzip")
	f.Add("Holdfast-Ttl", "1", "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		h := http.Header{}
		h.Add(name1, value1)
		h.Add(name2, value2)
		d, err := parseHead(h)
		if err != nil {
			if p := err.(*Problem); len(p.Errors) != 1 || p.Errors[0].Field == "" {
				t.Fatalf("%+v", p)
			}
			return
		}
		for name, v := range d.attrs {
			if v == "" || !utf8.ValidString(v) || name != "type" && name != "source" && badAttr(name) != "" {
				t.Fatalf("attribute %q: %q", name, v)
			}
		}
		if d.ttl < 0 || !d.notBefore.IsZero() && d.notBefore.UnixMilli() <= 0 {
			t.Fatalf("%+v", d)
		}
		if d.wait < 0 || d.wait > maxWait*time.Second || !utf8.ValidString(d.idempotency+d.key) {
			t.Fatalf("%+v", d)
		}
	})
}

func FuzzFilter(f *testing.F) {
	f.Add([]byte(`{"sink":"a","ids":["019b0000-0000-7000-8000-000000000001"],"all":true,"dry_run":false}`))
	f.Add([]byte(`{"ids":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decodeFilter(body)
		if err == nil && !got.All && got.Sink == "" && len(got.IDs) == 0 && got.ErrorContains == "" && got.DiedBefore.IsZero() {
			t.Fatalf("%q chooses everything", body)
		}
	})
}

func TestIdempotencyKeyIsTheSameWithAndWithoutQuotes(t *testing.T) {
	for given, want := range map[string]string{"abc": "abc", `"abc"`: "abc", `"a\"b\\"`: `a"b\`, `a"b`: `a"b`} {
		if got, err := idempotencyKey(http.Header{"Idempotency-Key": {given}}); err != nil || got != want {
			t.Errorf("%s is %s, %v", given, got, err)
		}
	}
	for _, bad := range []string{`"`, `"a`, `"a\x"`, `"a"b`, `""`} {
		if got, err := idempotencyKey(http.Header{"Idempotency-Key": {bad}}); err == nil {
			t.Errorf("%s is %s", bad, got)
		}
	}
}
