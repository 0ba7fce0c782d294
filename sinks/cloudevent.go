package sinks

import (
	"cmp"
	"encoding/base64"
	"iter"
	"mime"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// AppendCloudEvent appends the item as one JSON object of the JSON event format of CloudEvents 1.0.2, without an LF
// anywhere in it. Its attributes are those of CloudEventAttributes and, where there is one, datacontenttype:
// CloudEventContentType. The same item and source give the same bytes each time.
//
// The data of an event whose content type is JSON (or that has none and is JSON) is the body as a JSON value, unchanged but
// for line breaks between its tokens. A body that is UTF-8 with another content type is a string. The rest goes to
// data_base64: what is not UTF-8, what is not the JSON that it says, and text that says it has another charset. An empty
// body is no data. It keeps nothing of the item and is safe for concurrent use.
func AppendCloudEvent(dst []byte, it *Item, source string) []byte {
	open := byte('{')
	for name, value := range CloudEventAttributes(it, source) {
		dst = append(appendString(append(dst, open), name), ':')
		dst = appendString(dst, value)
		open = ','
	}
	contentType, s := eventData(it)
	dst = appendMember(dst, `,"datacontenttype":`, contentType)
	switch {
	case len(it.Body) == 0:
	case s == jsonValue:
		dst = appendValue(append(dst, `,"data":`...), it.Body)
	case s == plainText:
		dst = appendString(append(dst, `,"data":`...), it.Body)
	default:
		dst = append(base64.StdEncoding.AppendEncode(append(dst, `,"data_base64":"`...), it.Body), '"')
	}
	return append(dst, '}')
}

// AppendCloudEvents appends the items as one document of the JSON batch format.
func AppendCloudEvents(dst []byte, items []Item, source string) []byte {
	dst = append(dst, '[')
	for i := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendCloudEvent(dst, &items[i], source)
	}
	return append(dst, ']')
}

// CloudEventAttributes yields the names and values that the item has as a CloudEvent, in an order that stays, but for
// datacontenttype, whose place is another one in each binding:
//
//	specversion    1.0
//	id             the attribute "id", else the item's id
//	source         the attribute "source", else source, else /holdfast
//	type           the attribute "type", else holdfast.item
//	time           the attribute "time" if it is a time of RFC 3339, else when the item was accepted
//	dataschema     the attribute of that name if it is an absolute URI
//	subject        the attribute of that name
//	partitionkey   the key, else the attribute of that name
//	extensions     the other attributes, by name
//
// Attributes whose names are not of [a-z0-9]{1,20}, or are "data", cannot be in a CloudEvent and are left out, as are empty
// ones. Values are strings. What CloudEvents permits in no string becomes U+FFFD: control characters, noncharacters and
// invalid UTF-8. A source that is not a URI reference is percent-encoded as a whole.
func CloudEventAttributes(it *Item, source string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, a := range [...][2]string{
			{"specversion", "1.0"},
			{"id", cmp.Or(it.Attr("id"), it.ID.String())},
			{"source", reference(cmp.Or(it.Attr("source"), source, "/holdfast"))},
			{"type", cmp.Or(it.Attr("type"), "holdfast.item")},
			{"time", eventTime(it)},
			{"dataschema", schema(it.Attr("dataschema"))},
			{"subject", it.Attr("subject")},
			{"partitionkey", cmp.Or(it.Key, it.Attr("partitionkey"))},
		} {
			if a[1] != "" && !yield(a[0], permitted(a[1])) {
				return
			}
		}
		for _, name := range extensions(it.Attrs) {
			if !yield(name, permitted(it.Attrs.Get(name))) {
				return
			}
		}
	}
}

// CloudEventContentType returns the item's "content-type" if that is a media type. Where it is not or is missing, a body
// that is JSON, or empty, has none, which means JSON; any other is application/octet-stream.
func CloudEventContentType(it *Item) string {
	if declared, _, _ := mediaType(it); declared != "" {
		return declared // whatever the body is: it is not looked at
	}
	contentType, _ := eventData(it)
	return contentType
}

func extensions(attrs Attributes) []string {
	if attrs == nil {
		return nil
	}
	var names []string
	for name, value := range attrs.All() {
		if value != "" && isExtension(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func isExtension(name string) bool {
	switch name {
	case "specversion", "id", "source", "type", "time", "datacontenttype", "dataschema", "subject", "partitionkey", "data", "":
		return false
	}
	return len(name) <= 20 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

func eventTime(it *Item) string {
	given := it.Attr("time")
	if _, err := time.Parse(time.RFC3339Nano, given); err == nil && !strings.Contains(given, ",") {
		return given
	}
	return it.Accepted.UTC().Format("2006-01-02T15:04:05.000Z")
}

func schema(s string) string {
	if u, err := url.Parse(s); err != nil || !u.IsAbs() || !isReference(s) {
		return ""
	}
	return s
}

func reference(s string) string {
	if isReference(s) {
		return s
	}
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// isReference says whether s is a URI reference (RFC 3986, section 4.1). url.Parse alone lets pass what has to be escaped.
func isReference(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', strings.IndexByte("-._~:/?#[]@!$&'()*+,;=", c) >= 0:
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
		default:
			return false
		}
	}
	_, err := url.Parse(s)
	return err == nil
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' }

// permitted replaces what a String of CloudEvents may not hold.
func permitted(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || 0x7f <= r && r <= 0x9f || 0xfdd0 <= r && r <= 0xfdef || r&0xfffe == 0xfffe {
			return utf8.RuneError
		}
		return r
	}, s)
}

// eventData returns the datacontenttype and how the body is the data.
func eventData(it *Item) (contentType string, s shape) {
	declared, media, charset := mediaType(it)
	isJSON := strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json")
	switch {
	case len(it.Body) == 0:
		return declared, opaque
	case (isJSON || media == "") && isValue(it.Body, 2): // the event and the batch around it
		return declared, jsonValue
	case media == "":
		return "application/octet-stream", opaque
	case !isJSON && utf8.Valid(it.Body) && (charset == "" || charset == "utf-8" || charset == "us-ascii"):
		return declared, plainText
	}
	return declared, opaque
}

// mediaType returns the attribute "content-type" and what it says, all empty if it is no media type.
func mediaType(it *Item) (declared, media, charset string) {
	declared = it.Attr("content-type")
	media, params, err := mime.ParseMediaType(declared)
	if _, sub, ok := strings.Cut(media, "/"); err != nil || !ok || sub == "" || permitted(declared) != declared {
		return "", "", ""
	}
	return declared, media, strings.ToLower(params["charset"])
}
