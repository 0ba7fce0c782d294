package cloudevents

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// headerPrefix is what the names of attributes begin with, in the form that net/http gives them.
const headerPrefix = "Ce-"

// InHeaders reports whether headers mean an event in binary mode: one of the attributes is there that every event has.
// With less than all of them it is no valid event, but a plain body it was not meant to be either.
func InHeaders(h http.Header) bool {
	return slices.ContainsFunc(requiredHeaders, func(name string) bool { return len(h[name]) > 0 })
}

// requiredHeaders are the headers of the attributes that every event has.
var requiredHeaders = headersOf(required)

func headersOf(attributes []string) []string {
	names := make([]string, len(attributes))
	for i, a := range attributes {
		names[i] = http.CanonicalHeaderKey(headerPrefix + a)
	}
	return names
}

// FromHeaders reads the attributes of an event in binary mode. The body is its data, and the Content-Type its content
// type: both are the caller's to add. Errors: *FieldError, whose Field is the header.
func FromHeaders(h http.Header) (Event, error) {
	d := newDraft()
	for _, header := range slices.Sorted(maps.Keys(h)) {
		name, ours := strings.CutPrefix(header, headerPrefix)
		if !ours {
			continue
		}
		name = strings.ToLower(name)
		why := badName(name)
		switch {
		case why != "":
		case name == "datacontenttype":
			why = "in binary mode the Content-Type says that"
		case len(h[header]) > 1:
			why = "it is given more than once"
		default:
			var value string
			if value, why = headerValue(h[header][0]); why == "" {
				why = d.set(name, value)
			}
		}
		if why != "" {
			return Event{}, &FieldError{-1, header, why}
		}
	}
	if missing := d.finish(); missing != "" {
		return Event{}, &FieldError{-1, http.CanonicalHeaderKey(headerPrefix + missing), "it is missing"}
	}
	return d.Event, nil
}

// headerValue decodes a header as section 3.1.3.2 of the HTTP binding has it: quotes around the whole first, then one
// round of percent-decoding.
func headerValue(s string) (value, why string) {
	if inner, quoted := strings.CutPrefix(s, `"`); quoted {
		if s, quoted = unquote(inner); !quoted {
			return "", "its quotes do not match"
		}
	}
	if !strings.Contains(s, "%") {
		return s, ""
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
			return "", "a % is not followed by two hexadecimal digits"
		}
		b.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
		i += 2
	}
	return b.String(), ""
}

// unquote reads what follows an opening quote, RFC 9110 section 5.6.4; the closing one must be the end.
func unquote(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), i == len(s)-1
		case '\\':
			if i++; i == len(s) {
				return "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", false
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return (c | 0x20) - 'a' + 10
}
