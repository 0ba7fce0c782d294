package webhook_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/sinks"
	"holdfast/sinks/sinktest"
	"holdfast/sinks/webhook"
)

// The example of the HTTP binding, section 3.1.3.2, and the ends of what has to be escaped.
func TestHeaderValuesArePercentEncoded(t *testing.T) {
	for s, want := range map[string]string{
		"Euro € 😀":      "Euro%20%E2%82%AC%20%F0%9F%98%80",
		`!#$&'~a%20"b"`: "!#$&'~a%2520%22b%22",
		"\x00\x1f\x7f":  "%00%1F%7F",
		"":              "",
	} {
		if got := webhook.Percent(s); got != want {
			t.Errorf("%q is %q, want %q", s, got, want)
		}
	}
}

func TestBinaryCloudEventHasItsAttributesInHeaders(t *testing.T) {
	s, got := recording(t, webhook.Options{Format: sinks.CloudEventsBinary, Source: "/holdfast/1", Headers: map[string]string{"x-extra": "1"}})
	items := sinktest.Items("\x00\xff", `{"a":1}`, "plain", "<a/>", "")
	items[0].Attrs, items[0].Key = sinktest.Attrs{"id": "€ 1", "source": "/plc", "content-type": "image/png", "traceparent": "00-1", "floor": `"2"`}, "k"
	items[0].Accepted = time.Date(2026, 2, 3, 4, 5, 6, 7_000_000, time.UTC)
	for i := range items[1:] {
		items[i+1].Attrs = nil
	}
	items[3].Attrs = sinktest.Attrs{"content-type": "application/xml; charset=latin1"}
	if err := s.Deliver(t.Context(), items); err != nil || len(*got) != len(items) {
		t.Fatalf("deliver: %v, %d requests", err, len(*got))
	}
	first := map[string]string{}
	for name, values := range (*got)[0].header {
		if strings.HasPrefix(name, "Ce-") || name == "Content-Type" || name == "Traceparent" || name == "X-Extra" || name == "Webhook-Id" {
			first[name] = values[0]
		}
	}
	want := map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": "%E2%82%AC%201", "Ce-Source": "/plc", "Ce-Type": "holdfast.item", "Ce-Time": "2026-02-03T04:05:06.007Z",
		"Ce-Partitionkey": "k", "Ce-Floor": "%222%22", "Ce-Traceparent": "00-1", "Traceparent": "00-1",
		"Content-Type": "image/png", "X-Extra": "1", "Webhook-Id": items[0].ID.String(),
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	types := []string{"image/png", "application/json", "application/octet-stream", "application/xml; charset=latin1", "application/json"}
	for i, r := range *got {
		if r.body != string(items[i].Body) || r.header.Get("Content-Type") != types[i] {
			t.Errorf("request %d: %q as %q", i, r.body, r.header.Get("Content-Type"))
		}
	}
	if r := (*got)[1].header; r.Get("Ce-Source") != "/holdfast/1" || r.Get("Ce-Id") != items[1].ID.String() {
		t.Errorf("the item without attributes has %v", r)
	}
}

func TestCloudEventsGoAloneOrAsABatch(t *testing.T) {
	s, got := recording(t, webhook.Options{Format: sinks.CloudEvents, Source: "/holdfast/1"})
	items := sinktest.Items("a\nb", `{"c":1}`)
	for _, batch := range [][]sinks.Item{items[:1], items} {
		if err := s.Deliver(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []struct{ contentType, body, id string }{
		{"application/cloudevents+json", string(sinks.AppendCloudEvent(nil, &items[0], "/holdfast/1")), items[0].ID.String()},
		{"application/cloudevents-batch+json", string(sinks.AppendCloudEvents(nil, items, "/holdfast/1")), webhook.MessageID(items)},
	} {
		r := (*got)[i]
		if r.header.Get("Content-Type") != want.contentType || r.body != want.body || r.header.Get("Webhook-Id") != want.id {
			t.Errorf("request %d: %v\n%s", i, r.header, r.body)
		}
	}
}
