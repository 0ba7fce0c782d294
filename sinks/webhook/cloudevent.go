package webhook

import (
	"cmp"
	"net/http"

	"holdfast/sinks"
)

// setAttributes sets the headers of the binary content mode (CloudEvents 1.0.2, HTTP binding, section 3.1.3).
func setAttributes(h http.Header, it *sinks.Item, source string) {
	for name, value := range sinks.CloudEventAttributes(it, source) {
		h.Set("ce-"+name, percentEncode(value))
	}
}

// eventContentType says what the body is. That an event without a content type is JSON goes without saying in the JSON
// format only.
func eventContentType(it *sinks.Item) string {
	return cmp.Or(sinks.CloudEventContentType(it), "application/json")
}

// percentEncode escapes what is not to be in a header's value: space, double quote, percent, and all but printable ASCII
// (section 3.1.3.2).
func percentEncode(s string) string {
	const hex = "0123456789ABCDEF"
	var b []byte
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == '"' || c == '%' || c >= 0x7f {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}
