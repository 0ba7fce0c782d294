package sinks_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"holdfast/sinks"
)

func event(body, key string, a attrs) sinks.Item {
	it := sinks.Item{ID: uuid.MustParse("0195a000-0000-7000-8000-000000000001"), Accepted: accepted, Key: key, Body: []byte(body)}
	if a != nil {
		it.Attrs = a
	}
	return it
}

const eventHead = `{"specversion":"1.0","id":"0195a000-0000-7000-8000-000000000001","source":"/gate","type":"holdfast.item","time":"2026-02-03T04:06:07.008Z"`

func TestCloudEventHasItsDataAsTheContentTypeSays(t *testing.T) {
	for _, c := range []struct{ contentType, body, want string }{
		{"", ``, ``},
		{"", `{"a": 1}`, `,"data":{"a": 1}`},
		{"", `"text"`, `,"data":"text"`},
		{"", `plain`, `,"datacontenttype":"application/octet-stream","data_base64":"cGxhaW4="`},
		{"", "\xff", `,"datacontenttype":"application/octet-stream","data_base64":"/w=="`},
		{"no media type", `plain`, `,"datacontenttype":"application/octet-stream","data_base64":"cGxhaW4="`},
		{"text/", `1`, `,"data":1`},
		{"text/plain\x01", `1`, `,"data":1`},
		{"application/json", ``, `,"datacontenttype":"application/json"`},
		{"application/json", "{\n\"a\": 1}\n", `,"datacontenttype":"application/json","data":{"a":1}`},
		{"application/json", `null`, `,"datacontenttype":"application/json","data":null`},
		{"application/json", `true`, `,"datacontenttype":"application/json","data":true`},
		{"Application/JSON; charset=utf-8", `1`, `,"datacontenttype":"Application/JSON; charset=utf-8","data":1`},
		{"image/svg+json", `[1]`, `,"datacontenttype":"image/svg+json","data":[1]`},
		{"text/json", `"a"`, `,"datacontenttype":"text/json","data":"a"`},
		{"application/json", `not JSON`, `,"datacontenttype":"application/json","data_base64":"bm90IEpTT04="`},
		{"application/json", "\"\xff\"", `,"datacontenttype":"application/json","data_base64":"Iv8i"`},
		{"application/jsonx", `{"a":1}`, `,"datacontenttype":"application/jsonx","data":"{\"a\":1}"`},
		{"text/plain", `{"a":1}`, `,"datacontenttype":"text/plain","data":"{\"a\":1}"`},
		{"text/plain; charset=UTF-8", "ä\n", `,"datacontenttype":"text/plain; charset=UTF-8","data":"ä\n"`},
		{"text/plain; charset=latin1", `a`, `,"datacontenttype":"text/plain; charset=latin1","data_base64":"YQ=="`},
		{"application/xml", `<much wow="xml"/>`, `,"datacontenttype":"application/xml","data":"<much wow=\"xml\"/>"`},
		{"image/png", "\x89PNG", `,"datacontenttype":"image/png","data_base64":"iVBORw=="`},
	} {
		it := event(c.body, "", attrs{"content-type": c.contentType})
		got, want := string(sinks.AppendCloudEvent(nil, &it, "/gate")), eventHead+c.want+"}"
		if got != want {
			t.Errorf("%q as %q:\n got %s\nwant %s", c.body, c.contentType, got, want)
		}
	}
}

func TestCloudEventTakesItsAttributesFromTheItem(t *testing.T) {
	it := event("", "door 7\n", attrs{
		"id": "e-1", "source": "//plc/1?a=b", "type": "door.open", "time": "2018-04-05T17:31:00+02:00", "subject": "A",
		"dataschema": "https://x/y#z", "traceparent": "00-1", "b": "2", "a": "\xff\u0085\ufffe", "partitionkey": "not me",
		"specversion": "0.3", "data": "x", "datacontenttype": "x", "empty": "", "under_score": "x", "content-type": "text/plain",
		strings.Repeat("n", 20): "y", strings.Repeat("n", 21): "x",
	})
	want := `{"specversion":"1.0","id":"e-1","source":"//plc/1?a=b","type":"door.open","time":"2018-04-05T17:31:00+02:00","dataschema":"https://x/y#z",` +
		`"subject":"A","partitionkey":"door 7` + "\ufffd" + `","a":"` + "\ufffd\ufffd\ufffd" + `","b":"2","nnnnnnnnnnnnnnnnnnnn":"y","traceparent":"00-1","datacontenttype":"text/plain"}`
	if diff := cmp.Diff(want, string(sinks.AppendCloudEvent(nil, &it, "/gate"))); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
}

func TestCloudEventMendsWhatIsNotValid(t *testing.T) {
	for _, c := range []struct{ name, given, want string }{
		{"source", "", "/gate"},
		{"source", "plc", "plc"},
		{"source", "urn:x:%C3%A4", "urn:x:%C3%A4"},
		{"source", "//[::1]:80/a", "//[::1]:80/a"},
		{"source", "gate 7+1/ä", "gate%207%2B1%2F%C3%A4"},
		{"source", "100%", "100%25"},
		{"source", "7:30", "7%3A30"},
		{"time", "2026-01-01T00:00:00.123456789Z", "2026-01-01T00:00:00.123456789Z"},
		{"time", "2026-01-01T00:00:00,1Z", "2026-02-03T04:06:07.008Z"},
		{"time", "yesterday", "2026-02-03T04:06:07.008Z"},
		{"dataschema", "not/absolute", ""},
		{"dataschema", "https://x/ y", ""},
		{"dataschema", "urn:x", "urn:x"},
	} {
		it, got := event("", "", attrs{c.name: c.given}), ""
		for name, value := range sinks.CloudEventAttributes(&it, "/gate") {
			if name == c.name {
				got = value
			}
		}
		if got != c.want {
			t.Errorf("%s %q is %q, want %q", c.name, c.given, got, c.want)
		}
	}
	it := event("", "", nil)
	if got := string(sinks.AppendCloudEvent(nil, &it, "")); got != strings.Replace(eventHead, "/gate", "/holdfast", 1)+"}" {
		t.Errorf("an item without attributes is %s", got)
	}
}

func TestDeepestJSONIsADocumentInABatchToo(t *testing.T) {
	for _, n := range []int{9_997, 9_998, 9_999, 10_000, 10_001} {
		it := event(strings.Repeat("[", n)+strings.Repeat("]", n), "", nil)
		batch := sinks.AppendCloudEvents(nil, []sinks.Item{it, it}, "")
		if !json.Valid(batch) || bytes.Contains(batch, []byte("data_base64")) != (n > 9_998) {
			t.Errorf("%d nested arrays: valid is %t, %.200s", n, json.Valid(batch), batch)
		}
	}
}

func TestBatchIsAnArrayOfEvents(t *testing.T) {
	items := []sinks.Item{event("1", "", nil), event("a\nb", "k", attrs{"type": "t"})}
	for n := range 3 {
		var got []json.RawMessage
		batch := sinks.AppendCloudEvents([]byte(" "), items[:n], "/gate")
		if err := json.Unmarshal(batch, &got); err != nil || len(got) != n {
			t.Fatalf("batch of %d: %s, %v", n, batch, err)
		}
		for i := range got {
			if want := sinks.AppendCloudEvent(nil, &items[i], "/gate"); !bytes.Equal(got[i], want) {
				t.Errorf("event %d is %s, want %s", i, got[i], want)
			}
		}
	}
}

var eventName = regexp.MustCompile(`^[a-z0-9]{1,20}$`)

// readEvent is a reader as strict as the specification: it returns the attributes and the bytes of the data.
func readEvent(event []byte) (map[string]string, []byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(event, &members); err != nil {
		return nil, nil, err
	}
	data, encoded := members["data"], members["data_base64"]
	delete(members, "data")
	delete(members, "data_base64")
	a := map[string]string{}
	for name, value := range members {
		var s string
		if err := json.Unmarshal(value, &s); err != nil || !eventName.MatchString(name) || !isString(s) {
			return nil, nil, fmt.Errorf("attribute %q is %s: %w", name, value, err)
		}
		a[name] = s
	}
	if a["specversion"] != "1.0" || a["id"] == "" || a["source"] == "" || a["type"] == "" {
		return nil, nil, fmt.Errorf("attributes %v", a)
	}
	if _, err := url.Parse(a["source"]); err != nil {
		return nil, nil, err
	}
	if _, err := time.Parse(time.RFC3339Nano, a["time"]); err != nil {
		return nil, nil, err
	}
	body, err := readData(a["datacontenttype"], data, encoded)
	return a, body, err
}

func isString(s string) bool {
	return utf8.ValidString(s) && s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= 0x1f || 0x7f <= r && r <= 0x9f || 0xfdd0 <= r && r <= 0xfdef || r&0xffff >= 0xfffe
	})
}

func readData(contentType string, data, encoded json.RawMessage) ([]byte, error) {
	if data == nil && encoded == nil {
		return nil, nil
	}
	if data != nil && encoded != nil {
		return nil, fmt.Errorf("both data and data_base64")
	}
	media := "application/json"
	if contentType != "" {
		var err error
		if media, _, err = mime.ParseMediaType(contentType); err != nil {
			return nil, err
		}
	}
	if data != nil && (strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json")) {
		return data, nil
	}
	var s string
	if err := json.Unmarshal(append(data, encoded...), &s); err != nil {
		return nil, err
	}
	if data != nil {
		return []byte(s), nil
	}
	return base64.StdEncoding.DecodeString(s)
}

func FuzzCloudEventIsOneValidLineThatGivesTheBodyBack(f *testing.F) {
	for _, s := range []string{"", "a\nb", `{"a":1}`, "{\n\"a\":[1,\"\\n\"]}", `"s"`, "null", "\xff", " 1 "} {
		for _, contentType := range []string{"", "application/json", "text/plain; charset=utf-8", "a/b+json;x=\"\x01\""} {
			f.Add([]byte(s), contentType, "key", "value")
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, contentType, key, value string) {
		it := event(string(body), key, attrs{"content-type": contentType, "id": value, "source": value, "time": value, "type": key, "x": value, key: value})
		line := sinks.AppendCloudEvent([]byte("prefix"), &it, key)[len("prefix"):]
		if bytes.ContainsAny(line, "\r\n") || !utf8.Valid(line) {
			t.Fatalf("not one line of UTF-8: %q", line)
		}
		_, got, err := readEvent(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if bytes.Equal(got, body) {
			return
		}
		var a, b bytes.Buffer
		if json.Compact(&a, body) != nil || json.Compact(&b, got) != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Fatalf("body %q came back as %q", body, got)
		}
	})
}
