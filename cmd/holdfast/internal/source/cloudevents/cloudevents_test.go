package cloudevents

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

const least = `"specversion":"1.0","id":"1","source":"/s","type":"t"`

func leastAttrs(more ...string) map[string]string {
	m := map[string]string{"id": "1", "source": "/s", "type": "t"}
	for i := 0; i < len(more); i += 2 {
		m[more[i]] = more[i+1]
	}
	return m
}

func TestEventsMeanWhatTheFormatSays(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want Event
	}{
		"least":                     {`{` + least + `}`, Event{Attrs: leastAttrs()}},
		"all attributes":            {`{` + least + `,"subject":"ü","time":"2018-04-05T17:31:00.5z","dataschema":"https://x/y","datacontenttype":"text/x","data":"<a/>"}`, Event{ContentType: "text/x", Attrs: leastAttrs("subject", "ü", "time", "2018-04-05T17:31:00.5z", "dataschema", "https://x/y"), Data: []byte("<a/>")}},
		"extensions":                {`{` + least + `,"a":"v","b":true,"c":-5,"d":null,"e":"","partitionkey":"k"}`, Event{Key: "k", Attrs: leastAttrs("a", "v", "b", "true", "c", "-5")}},
		"nulls are as good as none": {`{` + least + `,"subject":null,"time":null,"data_base64":null,"partitionkey":null}`, Event{Attrs: leastAttrs()}},
		"object":                    {`{"data": {"a" : [1.0]} ,` + least + `}`, Event{ContentType: "application/json", Attrs: leastAttrs(), Data: []byte(`{"a" : [1.0]}`)}},
		"null is data":              {`{` + least + `,"data":null}`, Event{ContentType: "application/json", Attrs: leastAttrs(), Data: []byte("null")}},
		"string without a type":     {`{` + least + `,"data":"I'm \u0061"}`, Event{ContentType: "application/json", Attrs: leastAttrs(), Data: []byte(`"I'm \u0061"`)}},
		"string of JSON":            {`{"data":"x",` + least + `,"datacontenttype":"application/a+JSON; charset=utf-8"}`, Event{ContentType: "application/a+JSON; charset=utf-8", Attrs: leastAttrs(), Data: []byte(`"x"`)}},
		"string of text":            {`{"data":"\u00e9\n",` + least + `,"datacontenttype":"text/plain"}`, Event{ContentType: "text/plain", Attrs: leastAttrs(), Data: []byte("é\n")}},
		"number of text":            {`{"data":1.50,` + least + `,"datacontenttype":"text/json5"}`, Event{ContentType: "text/json5", Attrs: leastAttrs(), Data: []byte("1.50")}},
		"base64":                    {`{` + least + `,"data_base64":"AP8="}`, Event{ContentType: "application/octet-stream", Attrs: leastAttrs(), Data: []byte{0, 255}}},
		"base64 of a type":          {`{` + least + `,"data_base64":"e30=","datacontenttype":"application/json"}`, Event{ContentType: "application/json", Attrs: leastAttrs(), Data: []byte("{}")}},
		"base64 of nothing":         {`{` + least + `,"data_base64":""}`, Event{Attrs: leastAttrs()}},
	} {
		t.Run(name, func(t *testing.T) {
			c.want.ID, c.want.Source = "1", "/s"
			got, err := Parse([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Guarantee A6, in part: an event that breaks a rule is refused with its field.
func TestWrongEventsAreRefusedWithTheirField(t *testing.T) {
	for text, field := range map[string]string{
		``: "", `[]`: "", `1`: "", `{` + least: "", `{` + least + `}}`: "", "{" + least + ",\"a\":\"\xff\"}": "",
		`{}`: "id", `{"id":"1"}`: "source", `{"id":"1","source":"/s"}`: "specversion", `{"id":"1","source":"/s","specversion":"1.0"}`: "type",
		`{"specversion":"1.0","id":"","source":"/s","type":"t"}`: "id", `{"specversion":"1.0","id":null,"source":"/s","type":"t"}`: "id",
		`{"specversion":"1.0","id":1,"source":"/s","type":"t"}`: "id", `{"specversion":"0.3","id":"1","source":"/s","type":"t"}`: "specversion",
		`{"specversion":1.0,"id":"1","source":"/s","type":"t"}`: "specversion", `{"specversion":"1.0.2","id":"1","source":"/s","type":"t"}`: "specversion",
		`{` + least + `,"id":"2"}`: "id", `{` + least + `,"data":1,"data":2}`: "data", `{` + least + `,"data_base64":null,"data_base64":null}`: "data_base64",
		`{` + least + `,"data":1,"data_base64":"MQ=="}`: "data_base64", `{` + least + `,"data":null,"data_base64":"MQ=="}`: "data_base64",
		`{` + least + `,"data_base64":"MQ"}`: "data_base64", `{` + least + `,"data_base64":1}`: "data_base64", `{` + least + `,"data":"\ud800"}`: "data",
		`{` + least + `,"Subject":"x"}`: "Subject", `{` + least + `,"my_ext":"x"}`: "my_ext", `{` + least + `,"content-type":"x"}`: "content-type",
		`{` + least + `,"":"x"}`: "", `{` + least + `,"` + strings.Repeat("a", 65) + `":"x"}`: strings.Repeat("a", 65),
		`{` + least + `,"ext":1.5}`: "ext", `{` + least + `,"ext":1e3}`: "ext", `{` + least + `,"ext":2147483648}`: "ext", `{` + least + `,"ext":{}}`: "ext", `{` + least + `,"ext":[]}`: "ext",
		`{` + least + `,"subject":""}`: "subject", `{` + least + `,"subject":true}`: "subject", `{` + least + `,"partitionkey":""}`: "partitionkey", `{` + least + `,"partitionkey":7}`: "partitionkey",
		`{` + least + `,"time":"yesterday"}`: "time", `{` + least + `,"time":"2018-04-05"}`: "time", `{` + least + `,"datacontenttype":""}`: "datacontenttype",
		`{` + least + `,"subject":"a\nb"}`: "subject", `{` + least + `,"subject":"\u0085"}`: "subject", `{` + least + `,"subject":"\ufffe"}`: "subject", `{` + least + `,"ext":"\ufdd0"}`: "ext",
	} {
		_, err := Parse([]byte(text))
		e, ok := errors.AsType[*FieldError](err)
		if !ok || e.Field != field || e.Index != -1 || e.Reason == "" {
			t.Errorf("%s: %+v, want field %q", text, err, field)
		}
		if field == "" {
			continue // in a list it may be the list that is wrong
		}
		seen := 0
		err = ParseBatch([]byte(`[{`+least+`},`+text+`]`), func(i int, _ Event) error { seen++; return nil })
		if b, ok := errors.AsType[*FieldError](err); !ok || seen != 1 || b.Field != field || b.Index != 1 {
			t.Errorf("in a batch %s: %+v after %d", text, err, seen)
		}
	}
}

func TestBatchesMayBeEmptyAndStopAtTheFirstError(t *testing.T) {
	for text, want := range map[string]int{`[]`: 0, ` [ ] `: 0, `[{` + least + `}]`: 1, `[{` + least + `} , {` + least + `}]`: 2} {
		n := 0
		if err := ParseBatch([]byte(text), func(i int, e Event) error {
			if i != n || e.ID != "1" {
				t.Errorf("event %d is %+v", i, e)
			}
			n++
			return nil
		}); err != nil || n != want {
			t.Errorf("%s: %d events, %v", text, n, err)
		}
	}
	for _, text := range []string{``, `{}`, `{` + least + `}`, `[`, `[]]`, "[\"\xff\"]"} {
		if e, ok := errors.AsType[*FieldError](ParseBatch([]byte(text), nil)); !ok || e.Index != -1 {
			t.Errorf("%q: %+v", text, e)
		}
	}
	if e, ok := errors.AsType[*FieldError](ParseBatch([]byte(`[1]`), nil)); !ok || e.Index != 0 {
		t.Errorf("%+v", e)
	}
	own := errors.New("own")
	if err := ParseBatch([]byte(`[{`+least+`}]`), func(int, Event) error { return own }); err != own {
		t.Error(err)
	}
}

func headers(more ...string) http.Header {
	all := append([]string{"ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t"}, more...)
	h := http.Header{}
	for i := 0; i < len(all); i += 2 {
		h.Add(all[i], all[i+1])
	}
	return h
}

func TestHeadersMeanWhatTheBindingSays(t *testing.T) {
	for given, want := range map[string]string{
		"plain": "plain", "Euro%20%E2%82%AC%20%F0%9F%98%80": "Euro € 😀", "%e2%82%ac": "€", "%41": "A", "100%25": "100%", "a%2541": "a%41",
		`"Euro € \"x\\"`: `Euro € "x\`, `"a%20b"`: "a b", `a"b`: `a"b`, "ü": "ü", "a+b": "a+b",
	} {
		e, err := FromHeaders(headers("ce-subject", given, "Ce-PartitionKey", given, "Ce-Ext1", given))
		if err != nil || e.Attrs["subject"] != want || e.Key != want || e.Attrs["ext1"] != want || e.ID != "1" || e.Source != "/s" {
			t.Errorf("%s: %+v, %v", given, e, err)
		}
	}
	for _, bad := range []string{"%", "%4", "%zz", "50% off", `"a`, `"a"b`, `"a\`, "%C0%A0", "%ff", "%0A", "\xff", "%EF%BF%BE"} {
		_, err := FromHeaders(headers("ce-subject", bad))
		if e, ok := errors.AsType[*FieldError](err); !ok || e.Field != "Ce-Subject" || e.Index != -1 {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// Guarantee A6, in part: an event in headers that breaks a rule is refused with its header.
func TestWrongHeadersAreRefusedWithTheirName(t *testing.T) {
	for name, more := range map[string][]string{
		"Ce-Datacontenttype": {"ce-datacontenttype", "text/plain"}, "Ce-Data": {"ce-data", "x"}, "Ce-Data_base64": {"ce-data_base64", "x"},
		"Ce-My-Ext": {"ce-my-ext", "x"}, "Ce-": {"ce-", "x"}, "Ce-Time": {"ce-time", "now"}, "Ce-Id": {"ce-id", "2"}, "Ce-Partitionkey": {"ce-partitionkey", ""},
	} {
		_, err := FromHeaders(headers(more...))
		if e, ok := errors.AsType[*FieldError](err); !ok || e.Field != name || e.Reason == "" {
			t.Errorf("%v: %+v", more, err)
		}
	}
	for _, name := range required {
		h := headers()
		h.Del("ce-" + name)
		_, err := FromHeaders(h)
		if e, ok := errors.AsType[*FieldError](err); !ok || e.Field != http.CanonicalHeaderKey("ce-"+name) || !InHeaders(h) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	if InHeaders(http.Header{"Ce-Subject": {"x"}, "Content-Type": {"text/plain"}}) {
		t.Error("one header makes an event")
	}
}

func TestIdempotencyKeysTellEventsApart(t *testing.T) {
	seen := map[string]Event{}
	long := strings.Repeat("x", 1100)
	for _, e := range []Event{
		{Source: "a", ID: "b"}, {Source: "a b", ID: "c"}, {Source: "a", ID: "b c"}, {Source: "ab", ID: "c"}, {Source: "a", ID: "bc"},
		{Source: long, ID: "1"}, {Source: long, ID: "2"}, {Source: "1", ID: long}, {Source: "2", ID: long},
	} {
		key := e.IdempotencyKey()
		if other, ok := seen[key]; ok {
			t.Errorf("%+v and %+v have the same key", e, other)
		}
		if seen[key] = e; len(key) > 1024 || !strings.Contains(key, "\n") || key != e.IdempotencyKey() {
			t.Errorf("key %q", key)
		}
	}
}

// Guarantee A6, in part: whatever comes, it is refused, or encoding/json takes it for the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{` + least + `,"data":{"a":[1]},"time":"2018-04-05T17:31:00Z","x":true,"y":5}`, `{` + least + `,"data":"\u00e9","datacontenttype":"text/plain"}`, `{` + least + `,"data_base64":"AP8="}`, `{"id":"\ud800"}`, `[]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before := string(text)
		e, err := Parse(text)
		if string(text) != before {
			t.Fatal("the text was changed")
		}
		if err != nil {
			if fe, ok := errors.AsType[*FieldError](err); !ok || fe.Index != -1 || fe.Reason == "" {
				t.Fatalf("%v", err)
			}
			return
		}
		var m map[string]any
		var raw map[string]json.RawMessage
		if json.Unmarshal(text, &m) != nil || json.Unmarshal(text, &raw) != nil || !utf8.Valid(text) {
			t.Fatalf("taken, but encoding/json refuses %q", text)
		}
		if e.ID == "" || e.ID != m["id"] || e.Source == "" || e.Source != m["source"] || e.Attrs["type"] != m["type"] || m["specversion"] != "1.0" {
			t.Fatalf("%+v of %q", e, text)
		}
		want, isText := m["data"].(string)
		switch encoded, ok := m["data_base64"].(string); {
		case ok:
			b, err := base64.StdEncoding.DecodeString(encoded)
			if err != nil || string(b) != string(e.Data) {
				t.Fatalf("data %q of %q", e.Data, text)
			}
		case isText && !isJSON(e.ContentType):
			if want != string(e.Data) {
				t.Fatalf("data %q of %q", e.Data, text)
			}
		case string(e.Data) != string(raw["data"]):
			t.Fatalf("data %q of %q", e.Data, text)
		}
		for name, v := range e.Attrs {
			if badName(name) != "" || v == "" || !utf8.ValidString(v) {
				t.Fatalf("attribute %q: %q", name, v)
			}
		}
	})
}

func FuzzHeaders(f *testing.F) {
	f.Add("subject", "Euro%20%E2%82%AC")
	f.Add("ext", `"a\"b"`)
	f.Fuzz(func(t *testing.T, name, value string) {
		e, err := FromHeaders(headers("ce-"+name, value))
		if err != nil {
			if fe, ok := errors.AsType[*FieldError](err); !ok || fe.Reason == "" || !strings.HasPrefix(fe.Field, "Ce-") && fe.Field != "" {
				t.Fatalf("%v", err)
			}
			return
		}
		for name, v := range e.Attrs {
			if badName(name) != "" || badValue(v) != "" || v == "" {
				t.Fatalf("attribute %q: %q", name, v)
			}
		}
	})
}
