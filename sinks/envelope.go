package sinks

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"unicode/utf8"
)

// A Format is what a sink sends for an item.
type Format string

// The formats. Not every sink has every format.
const (
	Raw               Format = "raw"                // the item's own bytes
	JSON              Format = "json"               // its envelope, see AppendEnvelope
	CloudEvents       Format = "cloudevents"        // a CloudEvent in JSON, see AppendCloudEvent
	CloudEventsBinary Format = "cloudevents_binary" // the item's own bytes, and the CloudEvent's attributes as headers
)

// AppendLines appends each item in this format, and an LF. An envelope and a CloudEvent are always one line. A raw body is
// written as it is: one that holds an LF is several lines. source is for CloudEvents, see CloudEventAttributes.
func (f Format) AppendLines(dst []byte, items []Item, source string) []byte {
	about := 1 // of what stands around a body
	if f == JSON || f == CloudEvents {
		about = 256
	}
	room := 0
	for i := range items {
		room += len(items[i].Body) + about
	}
	dst = slices.Grow(dst, room) // at once: what grew line by line was most of what a busy service allocated
	for i := range items {
		switch f {
		case JSON:
			dst = AppendEnvelope(dst, &items[i])
		case CloudEvents:
			dst = AppendCloudEvent(dst, &items[i], source)
		default:
			dst = append(dst, items[i].Body...)
		}
		dst = append(dst, '\n')
	}
	return dst
}

// AppendEnvelope appends the item as one JSON object, without an LF anywhere in it:
//
//	{"id","accepted","type","source","key","attrs":{},"content_type","body"|"body_base64"}
//
// accepted is RFC 3339 in UTC with milliseconds. type, source and content_type are the attributes "type", "source" and
// "content-type"; attrs has the others, by name. What is empty is left out, but for the body. The same item gives the
// same bytes each time.
//
// A body that is a JSON object, array or number is the value of "body", unchanged, except that whitespace around it goes
// if that holds a line break, and that one with a line break between its tokens is compacted: an envelope is a line of
// NDJSON. A body that is UTF-8 and not JSON is a JSON string. The rest goes to "body_base64": a JSON string, true, false
// and null (a reader could not tell them from text) and what is not UTF-8. Invalid UTF-8 in a key or an attribute becomes
// U+FFFD. It keeps nothing of the item and is safe for concurrent use.
func AppendEnvelope(dst []byte, it *Item) []byte {
	dst = append(dst, `{"id":"`...)
	dst = append(dst, it.ID.String()...)
	dst = append(dst, `","accepted":"`...)
	dst = it.Accepted.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	dst = append(dst, '"')
	dst = appendMember(dst, `,"type":`, it.Attr("type"))
	dst = appendMember(dst, `,"source":`, it.Attr("source"))
	dst = appendMember(dst, `,"key":`, it.Key)
	dst = appendAttrs(dst, it.Attrs)
	dst = appendMember(dst, `,"content_type":`, it.Attr("content-type"))
	return append(appendBody(dst, it.Body), '}')
}

func appendMember(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return appendString(append(dst, name...), value)
}

func appendAttrs(dst []byte, attrs Attributes) []byte {
	if attrs == nil {
		return dst
	}
	var names []string
	for name := range attrs.All() {
		if name != "type" && name != "source" && name != "content-type" {
			names = append(names, name)
		}
	}
	if names == nil {
		return dst
	}
	slices.Sort(names) // not the order of a map: a retry signs and sends the same bytes
	dst = append(dst, `,"attrs":`...)
	open := byte('{')
	for _, name := range names {
		dst = append(appendString(append(dst, open), name), ':')
		dst = appendString(dst, attrs.Get(name))
		open = ','
	}
	return append(dst, '}')
}

func appendBody(dst, body []byte) []byte {
	switch shapeOf(body) {
	case jsonValue:
		return appendValue(append(dst, `,"body":`...), body)
	case plainText:
		return appendString(append(dst, `,"body":`...), body)
	default:
		return append(base64.StdEncoding.AppendEncode(append(dst, `,"body_base64":"`...), body), '"')
	}
}

// A shape is how a body can stand in an envelope so that its bytes can be had back.
type shape int

const (
	opaque    shape = iota
	jsonValue       // an object, an array or a number
	plainText       // UTF-8 that is not JSON
)

func shapeOf(body []byte) shape {
	switch {
	case !utf8.Valid(body): // encoding/json lets it pass inside strings
		return opaque
	case !json.Valid(body):
		return plainText
	case !bytes.ContainsAny(jsonTrim(body)[:1], "{[-0123456789"), tooDeep(body, 1):
		return opaque
	}
	return jsonValue
}

// isValue says whether the body is JSON that can stand so many levels deep in other JSON.
func isValue(body []byte, levels int) bool {
	return utf8.Valid(body) && json.Valid(body) && !tooDeep(body, levels)
}

// tooDeep says whether valid JSON is nested so deeply that it would not be inside so many more arrays or objects: decoders
// have a limit, and encoding/json's is 10,000.
func tooDeep(body []byte, levels int) bool {
	if bytes.Count(body, []byte("["))+bytes.Count(body, []byte("{")) <= 10_000-levels {
		return false
	}
	open, shut := bytes.Repeat([]byte("["), levels), bytes.Repeat([]byte("]"), levels)
	return !json.Valid(slices.Concat(open, body, shut))
}

func appendValue(dst, value []byte) []byte {
	if !bytes.ContainsAny(value, "\r\n") {
		return append(dst, value...)
	}
	value = jsonTrim(value)
	if !bytes.ContainsAny(value, "\r\n") {
		return append(dst, value...)
	}
	b := bytes.NewBuffer(dst)
	if err := json.Compact(b, value); err != nil {
		panic("sinks: valid JSON does not compact: " + err.Error())
	}
	return b.Bytes()
}

func jsonTrim(value []byte) []byte { return bytes.Trim(value, " \t\r\n") }

// appendString appends s as a JSON string. U+2028 and U+2029 are escaped, as some readers take them for line breaks; <, >
// and & are not: this is not HTML.
func appendString[S string | []byte](dst []byte, s S) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0 // what is before i and needs no escape is appended in one piece
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < 0x7f {
			i++
			continue
		}
		n, escaped := 1, ""
		switch {
		case c == '"' || c == '\\':
			escaped = string([]byte{'\\', c})
		case c == '\n':
			escaped = `\n`
		case c < utf8.RuneSelf:
			escaped = string([]byte{'\\', 'u', '0', '0', hex[c>>4], hex[c&15]})
		default:
			if n, escaped = escapeRune(string(s[i:min(i+utf8.UTFMax, len(s))])); escaped == "" {
				i += n
				continue
			}
		}
		dst = append(append(dst, s[from:i]...), escaped...)
		i += n
		from = i
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

// escapeRune returns the length of the first rune and what stands for it, empty if it stands for itself.
func escapeRune(s string) (int, string) {
	r, n := utf8.DecodeRuneInString(s)
	switch {
	case r == utf8.RuneError && n == 1:
		return n, `\ufffd`
	case r == 0x2028:
		return n, `\u2028`
	case r == 0x2029:
		return n, `\u2029`
	}
	return n, ""
}
