// Package cloudevents reads events of CloudEvents 1.0.2 as they come over HTTP: in headers with the data as the body
// (binary), as a JSON object (structured), or as a JSON array of those (batch). Other event formats are not read.
//
// An event is refused if it breaks a MUST that a reader can see, and the error names its place in the batch and the
// field. What JSON data is stays as it stands, byte for byte. Nothing here writes to the memory it reads from; an Event
// may share it.
package cloudevents

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// An Event is one event that keeps the rules.
type Event struct {
	ID, Source  string            // never empty
	Key         string            // the extension partitionkey; empty: none
	ContentType string            // datacontenttype, or what its absence means; empty: unknown
	Attrs       map[string]string // by name, [a-z0-9]{1,64}: id, source, type, and all others but those with a field here and specversion
	Data        []byte            // empty: none
}

// maxKey is the length up to which source and id are an idempotency key as they are.
const maxKey = 1024

// IdempotencyKey tells the event from all others: by the specification source and id together do. It has no more than
// 1,024 bytes, and is never what a producer can write into a header.
func (e *Event) IdempotencyKey() string {
	key := e.Source + "\n" + e.ID // neither may hold a LF, so no two events share a key
	if len(key) <= maxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return "sha256\n" + hex.EncodeToString(sum[:])
}

// A FieldError refuses an event.
type FieldError struct {
	Index  int    // in the batch, from 0; -1: the event is in none, or the batch as a whole is refused
	Field  string // a JSON member or a header; empty: the event as a whole
	Reason string
}

func (e *FieldError) Error() string {
	where := ""
	if e.Index >= 0 {
		where = fmt.Sprintf("event %d: ", e.Index)
	}
	if e.Field != "" {
		where += e.Field + ": "
	}
	return where + e.Reason
}

// A draft is an event of which not all is known yet.
type draft struct {
	Event
	version string
}

func newDraft() *draft { return &draft{Event: Event{Attrs: map[string]string{}}} }

// required are the attributes that every event has; standard are those whose type is a string of some kind that is not
// empty.
var (
	required = []string{"id", "source", "specversion", "type"}
	standard = map[string]bool{"id": true, "source": true, "specversion": true, "type": true, "subject": true, "time": true,
		"dataschema": true, "datacontenttype": true, "partitionkey": true}
)

// set takes over an attribute. It returns what is wrong with it, nothing if it keeps the rules of section 3 of the
// specification. An empty extension is as good as none.
func (d *draft) set(name, value string) string {
	why := badValue(value)
	switch {
	case why != "":
		return why
	case value == "" && standard[name]:
		return "it is empty"
	case value == "":
		return ""
	case name == "specversion" && value != "1.0":
		return "only 1.0 is supported"
	case name == "time" && !isTime(value):
		return "it is not a time of RFC 3339"
	}
	switch name {
	case "specversion":
		d.version = value
	case "datacontenttype":
		d.ContentType = value
	case "partitionkey":
		d.Key = value
	default:
		d.Attrs[name] = value
	}
	return ""
}

// finish checks that nothing is missing. The name of the first attribute that is comes back.
func (d *draft) finish() (missing string) {
	d.ID, d.Source = d.Attrs["id"], d.Attrs["source"]
	for _, name := range required {
		if d.Attrs[name] == "" && (name != "specversion" || d.version == "") {
			return name
		}
	}
	return ""
}

// badName says what is wrong with an attribute's name. The specification asks for no more than 20 characters, and lets
// more pass.
func badName(name string) string {
	if len(name) < 1 || len(name) > 64 {
		return "an attribute's name has 1 to 64 characters"
	}
	for _, c := range []byte(name) {
		if (c < 'a' || 'z' < c) && (c < '0' || '9' < c) {
			return "an attribute's name has only the characters a-z and 0-9"
		}
	}
	if name == "data" {
		return "no attribute may be called data"
	}
	return ""
}

// badValue says what a String of section 3.1 of the specification may not hold.
func badValue(s string) string {
	if !utf8.ValidString(s) {
		return "it is not UTF-8"
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "it holds a control character"
	}
	if strings.ContainsFunc(s, noncharacter) {
		return "it holds what Unicode says is no character"
	}
	return ""
}

func noncharacter(r rune) bool { return 0xFDD0 <= r && r <= 0xFDEF || r&0xFFFE == 0xFFFE }

// isTime takes the lower case that RFC 3339 allows, too.
func isTime(s string) bool {
	_, err := time.Parse(time.RFC3339, strings.ToUpper(s))
	return err == nil
}
