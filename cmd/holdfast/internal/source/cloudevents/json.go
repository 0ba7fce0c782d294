package cloudevents

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"holdfast/cmd/holdfast/internal/source/ndjson"
)

// Parse reads an event in structured mode. Errors: *FieldError.
func Parse(text []byte) (Event, error) {
	if !utf8.Valid(text) {
		return Event{}, &FieldError{-1, "", "not UTF-8"}
	}
	return parse(text, -1)
}

// ParseBatch calls each with the events of a batch, in their order; there may be none. It stops at the first error.
// Errors: *FieldError; each's own, unwrapped. It may come after some events have been seen.
func ParseBatch(text []byte, each func(index int, e Event) error) error {
	if !utf8.Valid(text) {
		return &FieldError{-1, "", "not UTF-8"}
	}
	i := 0
	err := ndjson.Elements(text, func(value []byte) error {
		e, err := parse(value, i)
		if err == nil {
			err = each(i, e)
		}
		i++
		return err
	})
	if syntax, ok := errors.AsType[*ndjson.SyntaxError](err); ok {
		return &FieldError{-1, "", fmt.Sprintf("not a JSON array: %v", syntax)}
	}
	return err
}

// The members of a JSON event that are no attributes.
const memberData, memberBase64 = "data", "data_base64"

func parse(text []byte, index int) (Event, error) {
	d, seen := newDraft(), map[string]bool{}
	var data, encoded []byte
	err := ndjson.Fields(text, func(name string, value []byte) error {
		why := ""
		switch {
		case seen[name]:
			why = "it is given twice"
		case name == memberData:
			data = value
		case name == memberBase64 && string(value) != "null":
			encoded = value
		case name != memberBase64:
			why = d.member(name, value)
		}
		if seen[name] = true; why != "" {
			return &FieldError{index, name, why}
		}
		return nil
	})
	if _, ok := errors.AsType[*FieldError](err); ok {
		return Event{}, err
	}
	if err != nil {
		return Event{}, &FieldError{index, "", fmt.Sprintf("not a JSON object: %v", err)}
	}
	if missing := d.finish(); missing != "" {
		return Event{}, &FieldError{index, missing, "it is missing"}
	}
	if field, why := d.payload(data, encoded); why != "" {
		return Event{}, &FieldError{index, field, why}
	}
	return d.Event, nil
}

// member takes over an attribute in its JSON form, section 2.2 of the JSON format: a null is one that is not set.
func (d *draft) member(name string, value []byte) string {
	why := badName(name)
	switch {
	case why != "":
		return why
	case string(value) == "null":
		return ""
	case value[0] == '"':
		text, err := ndjson.Unquote(value)
		if err != nil {
			return "it " + err.Error()
		}
		return d.set(name, string(text))
	case standard[name]:
		return "it is not a string"
	case string(value) == "true", string(value) == "false":
		return d.set(name, string(value))
	}
	n, err := strconv.ParseInt(string(value), 10, 32)
	if err != nil {
		return "an attribute is a string, a boolean or an integer of 32 bits"
	}
	return d.set(name, strconv.FormatInt(n, 10))
}

// payload takes over the data, section 3.1.2 of the JSON format. A string stands for its characters if the content type
// is not one of JSON, and for itself if it is. Other values are kept as they stand.
func (d *draft) payload(data, encoded []byte) (field, why string) {
	switch {
	case data != nil && encoded != nil:
		return memberBase64, "there is data too"
	case encoded != nil:
		return memberBase64, d.decode(encoded)
	case data == nil:
		return "", ""
	}
	d.Data = data
	if d.ContentType == "" {
		d.ContentType = "application/json"
	}
	if data[0] == '"' {
		text, err := ndjson.Unquote(data)
		if err != nil {
			return memberData, "it " + err.Error()
		}
		if !isJSON(d.ContentType) {
			d.Data = text
		}
	}
	return "", ""
}

func (d *draft) decode(encoded []byte) string {
	text, err := ndjson.Unquote(encoded)
	if err != nil {
		return "it " + err.Error()
	}
	if d.Data, err = base64.StdEncoding.Strict().AppendDecode(nil, text); err != nil {
		return "it is not base64 of RFC 4648, section 4"
	}
	if d.ContentType == "" && len(d.Data) > 0 {
		d.ContentType = "application/octet-stream"
	}
	return ""
}

// isJSON is section 3.1.1 of the JSON format: a subtype of json, or one that ends so.
func isJSON(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	_, sub, _ := strings.Cut(strings.ToLower(strings.TrimSpace(media)), "/")
	return sub == "json" || strings.HasSuffix(sub, "+json")
}
