package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/queue"
)

// ceEvent is the least event there is, and ceHeaders are it in headers.
const ceEvent = `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`

var ceHeaders = []string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", "t"}

// Guarantee A6.
func TestWrongInputIsRefusedWithItsPositionAndStoresNothing(t *testing.T) {
	const big = 3000
	o := Options{MaxItemBytes: 1000, MaxRequestBytes: 2000, MaxRequestItems: 3}
	lone := `{"body":"\ud800"}`
	for name, c := range map[string]struct {
		body    string
		headers []string
		status  int
		line    int
		field   string
	}{
		"empty body":               {"", nil, 400, 0, ""},
		"only empty lines":         {"\n\n\r\n", []string{"Content-Type", ndjsonType}, 400, 0, ""},
		"item too large":           {strings.Repeat("x", 1001), nil, 413, 0, ""},
		"request too large":        {strings.Repeat("x\n", big), []string{"Content-Type", ndjsonType}, 413, 0, ""},
		"line too large":           {"ok\n" + strings.Repeat("x", 1001), []string{"Content-Type", ndjsonType}, 413, 2, ""},
		"too many lines":           {"1\n2\n3\n\n4\n", []string{"Content-Type", ndjsonType}, 413, 5, ""},
		"key on several":           {"1\n2\n", []string{"Content-Type", ndjsonType, "Idempotency-Key", "k"}, 400, 0, "Idempotency-Key"},
		"key on one line":          {"1\n", []string{"Content-Type", "application/jsonl", "Idempotency-Key", "k"}, 400, 0, "Idempotency-Key"},
		"empty key":                {"1", []string{"Idempotency-Key", ""}, 400, 0, "Idempotency-Key"},
		"key with half a quote":    {"1", []string{"Idempotency-Key", `"k`}, 400, 0, "Idempotency-Key"},
		"key with more":            {"1", []string{"Idempotency-Key", `"k";x=1`}, 400, 0, "Idempotency-Key"},
		"two keys":                 {"1", []string{"Idempotency-Key", "a", "Idempotency-Key", "b"}, 400, 0, "Idempotency-Key"},
		"brotli":                   {"1", []string{"Content-Encoding", "br"}, 415, 0, "Content-Encoding"},
		"gzip of gzip":             {"1", []string{"Content-Encoding", "gzip, gzip"}, 415, 0, "Content-Encoding"},
		"gzip and zstd":            {"1", []string{"Content-Encoding", "gzip", "Content-Encoding", "zstd"}, 415, 0, "Content-Encoding"},
		"no gzip":                  {"1", []string{"Content-Encoding", "gzip"}, 400, 0, "Content-Encoding"},
		"no zstd":                  {"1", []string{"Content-Encoding", "zstd"}, 400, 0, "Content-Encoding"},
		"avro event":               {"{}", []string{"Content-Type", "application/cloudevents+avro"}, 415, 0, "Content-Type"},
		"protobuf events":          {"{}", []string{"Content-Type", "application/cloudevents-batch+protobuf"}, 415, 0, "Content-Type"},
		"xml event":                {"{}", append([]string{"Content-Type", "Application/CloudEvents+XML; charset=utf-8"}, ceHeaders...), 415, 0, "Content-Type"},
		"event of no kind":         {"{}", []string{"Content-Type", "application/cloudevents"}, 415, 0, "Content-Type"},
		"event without id":         {`{"specversion":"1.0"}`, []string{"Content-Type", "application/cloudevents+json; charset=utf-8"}, 400, 0, "id"},
		"event of another version": {`{"specversion":"0.3","id":"1","source":"s","type":"t"}`, []string{"Content-Type", "application/cloudevents+json"}, 400, 0, "specversion"},
		"event that is a list":     {"[" + ceEvent + "]", []string{"Content-Type", "application/cloudevents+json"}, 400, 0, ""},
		"event with large data":    {strings.Replace(ceEvent, "}", `,"data":"`+strings.Repeat("x", 1000)+`"}`, 1), []string{"Content-Type", "application/cloudevents+json"}, 413, 0, ""},
		"event that is too long":   {strings.Replace(ceEvent, "}", `,"x":"`+strings.Repeat("x", 70_000)+`"}`, 1), []string{"Content-Type", "application/cloudevents+json"}, 413, 0, ""},
		"no body of an event":      {"", []string{"Content-Type", "application/cloudevents+json"}, 400, 0, ""},
		"batch that is an event":   {ceEvent, []string{"Content-Type", "application/cloudevents-batch+json"}, 400, 0, ""},
		"batch with a wrong time":  {"[" + ceEvent + "," + strings.Replace(ceEvent, "}", `,"time":"noon"}`, 1) + "]", []string{"Content-Type", "application/cloudevents-batch+json"}, 400, 0, "[1].time"},
		"batch with no event":      {"[" + ceEvent + ",7]", []string{"Content-Type", "application/cloudevents-batch+json"}, 400, 0, "[1]"},
		"batch of too many":        {"[" + strings.Repeat(ceEvent+",", 3) + ceEvent + "]", []string{"Content-Type", "application/cloudevents-batch+json"}, 413, 0, "[3]"},
		"batch with large data":    {"[" + ceEvent + "," + strings.Replace(ceEvent, "}", `,"data":"`+strings.Repeat("x", 1000)+`"}`, 1) + "]", []string{"Content-Type", "application/cloudevents-batch+json"}, 413, 0, "[1]"},
		"key on a batch":           {"[" + ceEvent + "]", []string{"Content-Type", "application/cloudevents-batch+json", "Idempotency-Key", "k"}, 400, 0, "Idempotency-Key"},
		"headers without id":       {"{}", []string{"Ce-Specversion", "1.0", "Ce-Source", "/s", "Ce-Type", "t"}, 400, 0, "Ce-Id"},
		"headers with a bad one":   {"{}", append([]string{"Ce-Subject", "50% off"}, ceHeaders...), 400, 0, "Ce-Subject"},
		"headers and large data":   {strings.Repeat("x", 1001), ceHeaders, 413, 0, ""},
		"ttl of nothing":           {"1", []string{"Holdfast-TTL", "0s"}, 400, 0, "Holdfast-Ttl"},
		"ttl of less":              {"1", []string{"Holdfast-TTL", "-5s"}, 400, 0, "Holdfast-Ttl"},
		"ttl without unit":         {"1\n2\n", []string{"Content-Type", ndjsonType, "Holdfast-TTL", "90"}, 400, 0, "Holdfast-Ttl"},
		"two ttls":                 {"1", []string{"Holdfast-TTL", "90s", "Holdfast-TTL", "90s"}, 400, 0, "Holdfast-Ttl"},
		"not before noon":          {"1", []string{"Holdfast-Not-Before", "noon"}, 400, 0, "Holdfast-Not-Before"},
		"not before a day":         {"1", []string{"Holdfast-Not-Before", "2026-01-02"}, 400, 0, "Holdfast-Not-Before"},
		"unknown header":           {"1", []string{"Holdfast-Kye", "x"}, 400, 0, "Holdfast-Kye"},
		"attribute with a hyphen":  {"1", []string{"Holdfast-Attr-A-B", "x"}, 400, 0, "Holdfast-Attr-A-B"},
		"attribute without name":   {"1", []string{"Holdfast-Attr-", "x"}, 400, 0, "Holdfast-Attr-"},
		"long attribute":           {"1", []string{"Holdfast-Attr-" + strings.Repeat("A", 65), "x"}, 400, 0, "Holdfast-Attr-A" + strings.Repeat("a", 64)},
		"type as attribute":        {"1", []string{"Holdfast-Attr-Type", "x"}, 400, 0, "Holdfast-Attr-Type"},
		"two keys of order":        {"1", []string{"Holdfast-Key", "a", "Holdfast-Key", "b"}, 400, 0, "Holdfast-Key"},
		"no envelope":              {`{"body":1}` + "\n[1]\n", []string{"Content-Type", envelopeType}, 400, 2, ""},
		"half an envelope":         {"\n{\"body\":1", []string{"Content-Type", envelopeType}, 400, 2, ""},
		"unknown field":            {`{"body":1}` + "\n\n" + `{"body":1,"boody":2}`, []string{"Content-Type", envelopeType}, 400, 3, "boody"},
		"unknown text":             {`{"body":1,"boody":"2"}`, []string{"Content-Type", envelopeType}, 400, 1, "boody"},
		"field in another case":    {`{"Body":1}`, []string{"Content-Type", envelopeType}, 400, 1, "Body"},
		"field twice":              {`{"body":1,"key":"a","key":"b"}`, []string{"Content-Type", envelopeType}, 400, 1, "key"},
		"two bodies":               {`{"body":1,"body_base64":"MQ=="}`, []string{"Content-Type", envelopeType}, 400, 1, "body_base64"},
		"no body":                  {`{"key":"a"}`, []string{"Content-Type", envelopeType}, 400, 1, "body"},
		"empty string body":        {`{"body":""}`, []string{"Content-Type", envelopeType}, 400, 1, "body"},
		"no base64":                {`{"body_base64":"MQ"}`, []string{"Content-Type", envelopeType}, 400, 1, "body_base64"},
		"half a surrogate":         {lone, []string{"Content-Type", envelopeType}, 400, 1, "body"},
		"not UTF-8":                {"{\"body\":\"\xff\"}", []string{"Content-Type", envelopeType}, 400, 1, ""},
		"key that is a number":     {`{"body":1,"key":1}`, []string{"Content-Type", envelopeType}, 400, 1, "key"},
		"attrs that are a list":    {`{"body":1,"attrs":[]}`, []string{"Content-Type", envelopeType}, 400, 1, "attrs"},
		"attr that is a number":    {`{"body":1,"attrs":{"a":1}}`, []string{"Content-Type", envelopeType}, 400, 1, "attrs.a"},
		"attr in upper case":       {`{"body":1,"attrs":{"A":"1"}}`, []string{"Content-Type", envelopeType}, 400, 1, "attrs.A"},
		"attr twice":               {`{"body":1,"attrs":{"a":"1","a":"2"}}`, []string{"Content-Type", envelopeType}, 400, 1, "attrs.a"},
		"ttl of an envelope":       {`{"body":1,"ttl":"0s"}`, []string{"Content-Type", envelopeType}, 400, 1, "ttl"},
		"ttl that is a number":     {`{"body":1,"ttl":90}`, []string{"Content-Type", envelopeType}, 400, 1, "ttl"},
		"ttl twice":                {`{"body":1,"ttl":null,"ttl":"1s"}`, []string{"Content-Type", envelopeType}, 400, 1, "ttl"},
		"not before of one":        {`{"body":1}` + "\n" + `{"body":1,"not_before":"soon"}`, []string{"Content-Type", envelopeType}, 400, 2, "not_before"},
		"body of an envelope too large": {`{"body":1}` + "\n" + `{"body":"` + strings.Repeat("x", 1001) + `"}`,
			[]string{"Content-Type", envelopeType}, 413, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			q := &fakeQueue{}
			ts, _ := serve(t, q, o)
			a := call(t, ts, "POST", "/v1/items", c.body, c.headers...)
			p := a.problem(t)
			if a.StatusCode != c.status {
				t.Errorf("status %d, want %d: %s", a.StatusCode, c.status, a.body)
			}
			if (c.line > 0 || c.field != "") && (len(p.Errors) != 1 || p.Errors[0].Line != c.line || p.Errors[0].Field != c.field || p.Errors[0].Detail == "") {
				t.Errorf("position %+v, want line %d, field %q", p.Errors, c.line, c.field)
			}
			if c.status == 413 && !strings.ContainsAny(p.Detail, "123") {
				t.Errorf("the limit is not named: %s", p.Detail)
			}
			if n := len(q.stored()); n > 0 {
				t.Errorf("%d items were stored", n)
			}
		})
	}
}

// Guarantee A6, in part: what the queue refuses is named by its line.
func TestQueueRefusalsNameTheLine(t *testing.T) {
	for name, c := range map[string]struct {
		err         error
		status      int
		code        string
		line        int
		errorsGiven bool
	}{
		"invalid":           {&queue.InvalidError{Item: 1, Field: "key", Reason: "too long"}, 400, "malformed", 3, true},
		"too large":         {&queue.TooLargeError{Item: 1, Size: 9, Limit: 8, What: "bytes"}, 413, "too_large", 3, true},
		"request too large": {&queue.TooLargeError{Item: -1, Size: 9, Limit: 8, What: "items"}, 413, "too_large", 0, true},
		"mismatch":          {&queue.MismatchError{Item: 0, Key: "k"}, 422, "idempotency_mismatch", 1, true},
		"sink full":         {&queue.FullError{Sink: "crm"}, 503, "full", 0, false},
		"budget":            {&queue.FullError{}, 503, "full", 0, false},
		"disk":              {&queue.FullError{Disk: true}, 503, "disk_full", 0, false},
		"stopping":          {queue.ErrStopping, 503, "stopping", 0, false},
		"uncertain":         {queue.ErrUncertain, 503, "uncertain", 0, false},
		"a surprise":        {errors.New("secret"), 500, "internal", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			ts, _ := serve(t, &fakeQueue{submit: func(context.Context, queue.Request) error { return c.err }}, Options{})
			a := call(t, ts, "POST", "/v1/items", "1\n\n2\n", "Content-Type", ndjsonType)
			p := a.problem(t)
			if a.StatusCode != c.status || p.Code != c.code || c.errorsGiven && (len(p.Errors) != 1 || p.Errors[0].Line != c.line) {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
			if strings.Contains(a.body, "secret") {
				t.Errorf("an internal error is told: %s", a.body)
			}
		})
	}
}

// Guarantee A1, in part: one body is one request of the queue, and its answer comes after the queue's.
func TestBodyIsOneRequest(t *testing.T) {
	var requests []queue.Request
	durable := false
	q := &fakeQueue{submit: func(_ context.Context, r queue.Request) error { requests = append(requests, r); return nil },
		wait: func(context.Context, int) error { durable = true; return nil }}
	ts, _ := serve(t, q, Options{})
	a := call(t, ts, "POST", "/v1/items", "{\"a\":1}\n\nplain \r\n[1,\n", "Content-Type", ndjsonType, "Holdfast-Key", "k", "Holdfast-Type", "door.open",
		"Holdfast-Source", "gate", "Holdfast-Attr-Site", "höme", "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if a.StatusCode != 202 || !durable || len(requests) != 1 || requests[0].Scope != "http" || requests[0].Source != "http" || requests[0].Join {
		t.Fatalf("%d %s, %d requests", a.StatusCode, a.body, len(requests))
	}
	var bodies []string
	for i, it := range requests[0].Items {
		bodies = append(bodies, string(it.Body))
		want := map[string]string{"type": "door.open", "source": "gate", "site": "höme", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
			"content-type": []string{"application/json", "text/plain", "text/plain"}[i]}
		if diff := cmp.Diff(want, maps.Collect(it.Attrs.All())); diff != "" || it.Key != "k" {
			t.Errorf("item %d, key %q: %s", i, it.Key, diff)
		}
	}
	if !slices.Equal(bodies, []string{`{"a":1}`, "plain \r", "[1,"}) {
		t.Errorf("bodies %q", bodies)
	}
	var got struct {
		Items                []map[string]any
		Accepted, Duplicates int
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || len(got.Items) != 3 || got.Accepted != 3 || got.Duplicates != 0 {
		t.Errorf("%s, %v", a.body, err)
	}
}

func TestSingleItemIsKeptByteForByte(t *testing.T) {
	body := "\x00\xff\r\n{}\n"
	for given, want := range map[string]string{"": "application/octet-stream", "text/plain; charset=latin1": "text/plain; charset=latin1", "Application/JSON": "Application/JSON"} {
		q := &fakeQueue{}
		ts, _ := serve(t, q, Options{})
		a := call(t, ts, "POST", "/v1/items", body, slices.DeleteFunc([]string{"Content-Type", given}, func(s string) bool { return given == "" })...)
		if a.StatusCode != 202 || len(q.items) != 1 || string(q.items[0].Body) != body || q.items[0].Attrs.Get("content-type") != want {
			t.Errorf("type %q: %d %s, %+v", given, a.StatusCode, a.body, q.items)
		}
		if want := `{"id":"019b0000-0000-7000-8000-000000000000","accepted":"2026-01-02T03:04:05.678Z","duplicate":false,"routed_to":["crm","fi\"le"]}`; a.body != want {
			t.Errorf("receipt %s, want %s", a.body, want)
		}
		if loc := a.Header.Get("Location"); loc != "/v1/items/019b0000-0000-7000-8000-000000000000" {
			t.Errorf("location %q", loc)
		}
	}
}

func TestEnvelopesMeanWhatTheySay(t *testing.T) {
	q := &fakeQueue{}
	ts, _ := serve(t, q, Options{})
	body := `{"body": {"a" : [1]} ,"id":"i1","accepted":"whenever","attrs":{"site":"x","type2":""},"type":null}` + "\n" +
		`{"body":"\u00e9\n","content_type":"text/x","key":"k2","type":"t2","id":"i2","idempotency_key":"ik","ttl":null}` + "\n" +
		`{"body_base64":"AP8=","body2":1}`
	body = strings.Replace(body, `,"body2":1`, "", 1)
	if a := call(t, ts, "POST", "/v1/items", body, "Content-Type", envelopeType, "Holdfast-Key", "k", "Holdfast-Type", "t", "Holdfast-Attr-Site", "y"); a.StatusCode != 202 {
		t.Fatal(a.body)
	}
	want := []queue.Item{
		{Body: []byte(`{"a" : [1]}`), Key: "k", IdempotencyKey: "i1", Attrs: attrsWith(map[string]string{"site": "x", "type": "t"}, "application/json")},
		{Body: []byte("é\n"), Key: "k2", IdempotencyKey: "ik", Attrs: attrsWith(map[string]string{"site": "y", "type": "t2"}, "text/x")},
		{Body: []byte("\x00\xff"), Key: "k", Attrs: attrsWith(map[string]string{"site": "y", "type": "t"}, "application/octet-stream")},
	}
	if diff := cmp.Diff(want, q.items); diff != "" {
		t.Error(diff)
	}
}

// Guarantee A4, in part: what the producer sees of it.
func TestReplayIsAnsweredWithTheFirstReceipt(t *testing.T) {
	q := &fakeQueue{}
	ts, _ := serve(t, q, Options{})
	first := call(t, ts, "POST", "/v1/items", "x", "Idempotency-Key", "abc")
	again := call(t, ts, "POST", "/v1/items", "x", "Idempotency-Key", `"abc"`)
	if first.StatusCode != 202 || again.StatusCode != 202 || first.Header.Get("Idempotent-Replayed") != "" || again.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("%d, %d, %q", first.StatusCode, again.StatusCode, again.Header)
	}
	if want := `{"id":"019b0000-0000-7000-8000-000000000000","accepted":"2026-01-02T03:04:05.678Z","duplicate":true}`; again.body != want || again.Header.Get("Location") != first.Header.Get("Location") {
		t.Errorf("%s", again.body)
	}
	if other := call(t, ts, "POST", "/v1/items", "y", "Idempotency-Key", "abc"); other.StatusCode != 422 || other.problem(t).Code != "idempotency_mismatch" {
		t.Errorf("%s", other.body)
	}
	both := call(t, ts, "POST", "/v1/items", `{"body":"x","id":"abc"}`+"\n"+`{"body":"new"}`, "Content-Type", envelopeType)
	if !strings.HasSuffix(both.body, `"accepted":1,"duplicates":1}`) {
		t.Errorf("%s", both.body)
	}
}

// Guarantee A7, in part: over HTTP.
func TestUnansweredCommitIsUncertain(t *testing.T) {
	q := &fakeQueue{wait: func(ctx context.Context, _ int) error { <-ctx.Done(); return queue.ErrUncertain }}
	ts, s := serve(t, q, Options{AcceptTimeout: 20 * time.Millisecond})
	a := call(t, ts, "POST", "/v1/items", "x")
	if p := a.problem(t); a.StatusCode != 503 || p.Code != "uncertain" {
		t.Errorf("%s", a.body)
	}
	if got := counter(t, s, "http", "uncertain"); got != 1 {
		t.Errorf("%v counted", got)
	}
}

// Guarantee B4, in part: over HTTP a full sink blocks for a time.
func TestWantOfRoomIsToldAfterTheBlockTimeout(t *testing.T) {
	q := &fakeQueue{submit: func(ctx context.Context, _ queue.Request) error {
		<-ctx.Done()
		return &queue.FullError{Sink: "crm"}
	}}
	ts, _ := serve(t, q, Options{BlockTimeout: 20 * time.Millisecond})
	if a := call(t, ts, "POST", "/v1/items", "x"); a.StatusCode != 503 || a.problem(t).Code != "full" || !strings.Contains(a.body, "crm") {
		t.Errorf("%s", a.body)
	}
}

// Guarantee A8, in part: over HTTP.
func TestProducerCanWaitForTheSinks(t *testing.T) {
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for name, c := range map[string]struct {
		join   func(context.Context) error
		status int
		state  string
	}{"done": {nil, 200, "complete"}, "not done": {hang, 202, "pending"}} {
		t.Run(name, func(t *testing.T) {
			q := &fakeQueue{join: c.join}
			ts, _ := serve(t, q, Options{BodyTimeout: 100 * time.Millisecond})
			began := time.Now()
			a := call(t, ts, "POST", "/v1/items", "x", "Prefer", `respond-async, Wait="1"; x=y`, "Content-Type", "text/plain", "Holdfast-Attr-Site", "s")
			var st itemState
			if err := json.Unmarshal([]byte(a.body), &st); err != nil || a.StatusCode != c.status || st.State != c.state || st.ID != idOf(0) || st.Sinks[0].State != "done" {
				t.Errorf("%d %s, %v", a.StatusCode, a.body, err)
			}
			if d := time.Since(began); c.join != nil && d < 900*time.Millisecond {
				t.Errorf("a wait of a second took %v", d)
			}
			if a.Header.Get("Preference-Applied") != "wait=1" || a.Header.Get("Location") == "" {
				t.Errorf("headers %v", a.Header)
			}
			several := call(t, ts, "POST", "/v1/items", "x\ny\n", "Prefer", "wait=1", "Content-Type", ndjsonType)
			if !strings.HasPrefix(several.body, `{"items":[{"id":"`+idOf(1).String()) || several.StatusCode != c.status {
				t.Errorf("%d %s", several.StatusCode, several.body)
			}
			if q.opened != 2 || q.closed != 2 {
				t.Errorf("%d joins opened, %d closed", q.opened, q.closed)
			}
		})
	}
}

func TestStopEndsTheWaitForTheSinks(t *testing.T) {
	stopping := make(chan struct{})
	q := &fakeQueue{join: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		wait: func(context.Context, int) error { close(stopping); return nil }}
	ts, _ := serve(t, q, Options{Stopping: stopping})
	if a := call(t, ts, "POST", "/v1/items", "x", "Prefer", "wait=300"); a.StatusCode != 202 {
		t.Errorf("%s", a.body)
	}
	if a := call(t, ts, "POST", "/v1/items", "x"); a.StatusCode != 503 || a.problem(t).Code != "stopping" {
		t.Errorf("%s", a.body)
	}
	if a := call(t, ts, "GET", "/readyz", ""); a.StatusCode != 503 || a.problem(t).Code != "stopping" {
		t.Errorf("%s", a.body)
	}
}

// Guarantee A6, in part: whole requests only.
func TestClientThatLeavesInTheBodyStoresNothing(t *testing.T) {
	for name, head := range map[string]string{
		"length":  "Content-Length: 100\r\n\r\n{\"a\":1}\n{\"a\":2}\n",
		"chunked": "Transfer-Encoding: chunked\r\n\r\n8\r\n{\"a\":1}\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			q := &fakeQueue{}
			ts, _ := serve(t, q, Options{})
			c := raw(t, ts, "POST /v1/items HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"+head)
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
			answer, _ := io.ReadAll(c)
			if !strings.HasPrefix(string(answer), "HTTP/1.1 400") || len(q.stored()) > 0 {
				t.Errorf("%s, %d stored", answer, len(q.items))
			}
		})
	}
}

func TestBodyThatDoesNotComeIsGivenUp(t *testing.T) {
	q := &fakeQueue{}
	ts, _ := serve(t, q, Options{BodyTimeout: 20 * time.Millisecond})
	c := raw(t, ts, "POST /v1/items HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf")
	answer, _ := io.ReadAll(c)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 408") || len(q.stored()) > 0 {
		t.Errorf("%s", answer)
	}
}

func TestExpectIsRefusedBeforeTheBody(t *testing.T) {
	for name, c := range map[string]struct {
		reason, length, want string
	}{
		"welcome":   {"", "5", "HTTP/1.1 100"},
		"full":      {"full", "5", "HTTP/1.1 503"},
		"disk full": {"disk_full", "5", "HTTP/1.1 503"},
		"stopping":  {"stopping", "5", "HTTP/1.1 503"},
		"too large": {"", "5000000", "HTTP/1.1 413"},
	} {
		for _, path := range []string{"/v1/items", "/v1/stream"} {
			t.Run(name+path, func(t *testing.T) {
				if name == "too large" && path == "/v1/stream" {
					t.Skip("a stream has no length")
				}
				ts, _ := serve(t, &fakeQueue{reason: c.reason}, Options{})
				conn := raw(t, ts, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: %s\r\n\r\n", path, c.length))
				line, err := bufio.NewReader(conn).ReadString('\n')
				if err != nil || !strings.HasPrefix(line, c.want) {
					t.Errorf("%q, %v", line, err)
				}
			})
		}
	}
}

func TestPanicIsA500AndTheServiceLivesOn(t *testing.T) {
	q := &fakeQueue{submit: func(context.Context, queue.Request) error { panic("oh") }}
	ts, _ := serve(t, q, Options{})
	if a := call(t, ts, "POST", "/v1/items", "x"); a.StatusCode != 500 || a.problem(t).Code != "internal" || strings.Contains(a.body, "oh") {
		t.Errorf("%s", a.body)
	}
	if a := call(t, ts, "GET", "/healthz", ""); a.StatusCode != 200 {
		t.Errorf("%s", a.body)
	}
	if a := call(t, ts, "POST", "/v1/stream", "x\n"); a.StatusCode != http.StatusOK || !strings.Contains(a.body, `"code":"internal"`) {
		t.Errorf("%s", a.body)
	}
}

// RFC 7240: a preference that cannot be met is no error.
func TestPreferenceToWaitIsNoOrder(t *testing.T) {
	ts, _ := serve(t, &fakeQueue{}, Options{})
	for prefer, want := range map[string]string{
		"wait=1": "wait=1", `wait="2"`: "wait=2", "wait=300": "wait=300", "wait=301": "wait=300", "wait=99999999999999999999999": "wait=300",
		"wait=0": "", "wait=-1": "", "wait=+1": "", "wait=soon": "", "wait": "", `wait="5`: "", "wait=1.5": "",
		"respond-async, wait=3": "wait=3", "wait=4, wait=5": "wait=4", "wait=soon, wait=5": "", "await=5": "",
	} {
		a := call(t, ts, "POST", "/v1/items", "x", "Prefer", prefer)
		status := 202
		if want != "" {
			status = 200
		}
		if got := a.Header.Get("Preference-Applied"); got != want || a.StatusCode != status {
			t.Errorf("Prefer: %s: %d, %q, want %q", prefer, a.StatusCode, got, want)
		}
	}
}

func TestAttemptsThatNobodyKeepsAreNotTold(t *testing.T) {
	for state, told := range map[string]bool{"done": false, "dropped": false, "waiting": false, "in_flight": true, "retrying": true} {
		got := string(encode(newItemState(queue.ItemState{Sinks: []queue.Progress{{Sink: "a", State: state}}})))
		if strings.Contains(got, `"attempts":0`) != told {
			t.Errorf("%s", got)
		}
		got = string(encode(newItemState(queue.ItemState{Sinks: []queue.Progress{{Sink: "a", State: state, Attempts: 2}}})))
		if !strings.Contains(got, `"attempts":2`) {
			t.Errorf("%s", got)
		}
	}
}
