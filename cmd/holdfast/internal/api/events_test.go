package api

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/queue"
	"holdfast/store"
)

const (
	eventType = "application/cloudevents+json; charset=UTF-8"
	batchType = "application/cloudevents-batch+json"
)

// fullEvent is an event with all there can be, and fullHeaders are it in headers.
const fullEvent = `{"specversion":"1.0","id":"i 1","source":"/gate","type":"door.open","subject":"é","time":"2018-04-05T17:31:00Z",` +
	`"dataschema":"https://x/y","partitionkey":"k","site":"x","open":true,"n":-5,"datacontenttype":"application/json","data":{"a" : 1}}`

var fullHeaders = []string{"Ce-Specversion", "1.0", "Ce-Id", "i%201", "Ce-Source", "/gate", "Ce-Type", "door.open", "Ce-Subject", "%C3%A9",
	"Ce-Time", "2018-04-05T17:31:00Z", "Ce-Dataschema", "https://x/y", "Ce-Partitionkey", "k", "Ce-Site", "x", "Ce-Open", "true", "Ce-N", "-5", "Content-Type", "application/json"}

func fullItem() queue.Item {
	return queue.Item{
		Key: "k", IdempotencyKey: "/gate\ni 1", TTL: 7 * 24 * time.Hour, Body: []byte(`{"a" : 1}`),
		Attrs: store.MakeAttrs(map[string]string{"id": "i 1", "source": "/gate", "type": "door.open", "subject": "é", "time": "2018-04-05T17:31:00Z",
			"dataschema": "https://x/y", "site": "x", "open": "true", "n": "-5", "content-type": "application/json", "extra": "h"}),
	}
}

func TestEventIsTheSameItemInEachMode(t *testing.T) {
	for name, c := range map[string]struct {
		body    string
		headers []string
	}{
		"binary": {`{"a" : 1}`, fullHeaders}, "structured": {fullEvent, []string{"Content-Type", eventType}}, "batch": {"[" + fullEvent + "]", []string{"Content-Type", batchType}},
		"structured with headers": {fullEvent, append(append([]string{}, ceHeaders...), "Content-Type", eventType)},
	} {
		t.Run(name, func(t *testing.T) {
			q := &fakeQueue{}
			ts, _ := serve(t, q, Options{})
			// What the event says comes before what the headers say.
			a := call(t, ts, "POST", "/v1/items", c.body, append(c.headers, "Holdfast-TTL", "7d", "Holdfast-Key", "other", "Holdfast-Type", "other", "Holdfast-Attr-Site", "other", "Holdfast-Attr-Extra", "h")...)
			if a.StatusCode != 202 {
				t.Fatal(a.body)
			}
			if diff := cmp.Diff([]queue.Item{fullItem()}, q.items); diff != "" {
				t.Error(diff)
			}
			if several := strings.HasPrefix(a.body, `{"items":[`); several != (name == "batch") || several == (a.Header.Get("Location") != "") {
				t.Errorf("%s", a.body)
			}
		})
	}
}

func TestBodyOfAnEventIsItsData(t *testing.T) {
	for name, c := range map[string]struct {
		body        string
		headers     []string
		want        string
		contentType string
	}{
		"binary without type":  {"\x00\xff", ceHeaders, "\x00\xff", "application/octet-stream"},
		"binary with lines":    {"1\n2\n", append([]string{"Content-Type", ndjsonType}, ceHeaders...), "1\n2\n", ndjsonType},
		"binary without data":  {"", ceHeaders, "", ""},
		"structured text":      {strings.Replace(ceEvent, "}", `,"datacontenttype":"text/plain","data":"\u00e9"}`, 1), []string{"Content-Type", eventType}, "é", "text/plain"},
		"structured bytes":     {strings.Replace(ceEvent, "}", `,"data_base64":"AP8="}`, 1), []string{"Content-Type", eventType}, "\x00\xff", "application/octet-stream"},
		"structured and empty": {ceEvent, []string{"Content-Type", eventType}, "", ""},
		"structured null":      {strings.Replace(ceEvent, "}", `,"data":null}`, 1), []string{"Content-Type", eventType}, "null", "application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			q := &fakeQueue{}
			ts, _ := serve(t, q, Options{})
			a := call(t, ts, "POST", "/v1/items", c.body, c.headers...)
			if a.StatusCode != 202 || len(q.items) != 1 || string(q.items[0].Body) != c.want || q.items[0].Attrs.Get("content-type") != c.contentType {
				t.Errorf("%d %s, %+v", a.StatusCode, a.body, q.items)
			}
		})
	}
}

func TestBatchMayHoldNothing(t *testing.T) {
	q := &fakeQueue{}
	ts, _ := serve(t, q, Options{})
	if a := call(t, ts, "POST", "/v1/items", "[]", "Content-Type", batchType); a.StatusCode != 202 || a.body != `{"items":[],"accepted":0,"duplicates":0}` {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := call(t, ts, "POST", "/v1/items", "[ ]", "Content-Type", batchType, "Prefer", "wait=1"); a.StatusCode != 200 || a.body != `{"items":[]}` || q.opened != 0 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// Guarantee A4, in part: the source and id of an event are its idempotency key, unless the producer gave another.
func TestEventIsKnownByItsSourceAndID(t *testing.T) {
	with := func(id, source, data string) string {
		b, err := json.Marshal(map[string]any{"specversion": "1.0", "type": "t", "id": id, "source": source, "data": data})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	ts := serveReal(t)
	put := func(body string, headers ...string) answered {
		t.Helper()
		return call(t, ts, "POST", "/v1/items", body, append(headers, "Content-Type", eventType)...)
	}
	first := put(with("1", "/a", "x"))
	if a := put(with("1", "/a", "x")); a.Header.Get("Idempotent-Replayed") != "true" || a.Header.Get("Location") != first.Header.Get("Location") {
		t.Errorf("%s after %s", a.body, first.body)
	}
	binary := call(t, ts, "POST", "/v1/items", `"x"`, "Ce-Specversion", "1.0", "Ce-Type", "other", "Ce-Id", "1", "Ce-Source", "/a", "Content-Type", "application/json")
	if binary.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("%s", binary.body)
	}
	if a := put(with("1", "/a", "y")); a.StatusCode != 422 || a.problem(t).Code != "idempotency_mismatch" {
		t.Errorf("%s", a.body)
	}
	for _, other := range []string{with("1", "/b", "x"), with("2", "/a", "x"), with("1", strings.Repeat("/long", 400), "x")} {
		if a := put(other); a.StatusCode != 202 || a.Header.Get("Idempotent-Replayed") != "" {
			t.Errorf("%s", a.body)
		}
	}
	if a := put(with("1", "/a", "y"), "Idempotency-Key", "own"); a.StatusCode != 202 || a.Header.Get("Idempotent-Replayed") != "" {
		t.Errorf("the header does not come first: %s", a.body)
	}
	if a := put(with("9", "/z", "y"), "Idempotency-Key", "own"); a.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the header does not come first: %s", a.body)
	}
	list := call(t, ts, "POST", "/v1/items", "["+with("1", "/a", "x")+","+with("3", "/a", "x")+"]", "Content-Type", batchType)
	if !strings.HasSuffix(list.body, `"accepted":1,"duplicates":1}`) {
		t.Errorf("%s", list.body)
	}
	wrong := call(t, ts, "POST", "/v1/items", "["+with("4", "/a", "x")+","+with("1", "/a", "z")+"]", "Content-Type", batchType)
	if p := wrong.problem(t); wrong.StatusCode != 422 || p.Errors[0].Field != "[1].idempotency_key" {
		t.Errorf("%s", wrong.body)
	}
	if a := put(ceEvent, "Holdfast-Key", "k"); a.StatusCode != 202 {
		t.Errorf("an event without data: %s", a.body)
	} else if got := call(t, ts, "GET", a.Header.Get("Location"), ""); !strings.Contains(got.body, `"size":0,"type":"t","source":"/s","key":"k","attrs":{"id":"1"}`) {
		t.Errorf("%s", got.body)
	}
}

// Guarantees B7 and B8, in part: what the API hands over to the queue.
func TestTimesOfAnItemReachTheQueue(t *testing.T) {
	due := time.Date(2030, 1, 2, 3, 4, 5, 6e6, time.UTC)
	headers := []string{"Holdfast-TTL", "90s", "Holdfast-Not-Before", "2030-01-02T05:04:05.006+02:00"}
	for name, c := range map[string]struct {
		body, contentType string
		ttl               time.Duration
		due               time.Time
	}{
		"single":             {"x", "text/plain", 90 * time.Second, due},
		"lines":              {"x\ny\n", ndjsonType, 90 * time.Second, due},
		"structured":         {ceEvent, eventType, 90 * time.Second, due},
		"batch":              {"[" + ceEvent + "]", batchType, 90 * time.Second, due},
		"envelope":           {`{"body":1}`, envelopeType, 90 * time.Second, due},
		"envelope with null": {`{"body":1,"ttl":null,"not_before":null}`, envelopeType, 90 * time.Second, due},
		"envelope that says": {`{"body":1,"ttl":"7d","not_before":"2031-01-02T03:04:05Z"}`, envelopeType, 7 * 24 * time.Hour, time.Date(2031, 1, 2, 3, 4, 5, 0, time.UTC)},
		"long ago":           {`{"body":1,"not_before":"1960-01-02T03:04:05Z"}`, envelopeType, 90 * time.Second, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			q := &fakeQueue{}
			ts, _ := serve(t, q, Options{})
			if a := call(t, ts, "POST", "/v1/items", c.body, append(headers, "Content-Type", c.contentType)...); a.StatusCode != 202 || len(q.items) == 0 {
				t.Fatalf("%s", a.body)
			}
			for _, it := range q.items {
				if it.TTL != c.ttl || !it.NotBefore.Equal(c.due) {
					t.Errorf("%v, %v", it.TTL, it.NotBefore)
				}
			}
		})
	}
	q := &fakeQueue{}
	ts, _ := serve(t, q, Options{})
	call(t, ts, "POST", "/v1/stream", "x\n", headers...)
	if len(q.items) != 1 || q.items[0].TTL != 90*time.Second || !q.items[0].NotBefore.Equal(due) {
		t.Errorf("%+v", q.items)
	}
}

func TestDurationsHaveDays(t *testing.T) {
	for text, want := range map[string]time.Duration{"90s": 90 * time.Second, "7d": 7 * day, "1d12h": 36 * time.Hour, "1ms": time.Millisecond, "0d1s": time.Second, "100000d": 100_000 * day, "1.5h": 90 * time.Minute} {
		if got, err := parseTTL(text); err != nil || got != want {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "0s", "0d", "5", "d", "-1s", "1d-1h", "1d1", "1d ", " 1s", "100001d", "100000d2562047h", "1us", "1w", "٣s"} {
		if got, err := parseTTL(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}
