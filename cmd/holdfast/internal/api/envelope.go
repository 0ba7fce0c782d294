package api

import (
	"cmp"
	"encoding/base64"
	"errors"
	"maps"
	"time"
	"unicode/utf8"

	"holdfast/cmd/holdfast/internal/source/ndjson"
	"holdfast/queue"
	"holdfast/store"
)

// An envelope is one item on its way in, as a JSON object.
type envelope struct {
	attrs       map[string]string
	kind        string
	source      string
	key         string
	contentType string
	id          string
	idempotency string
	ttl         time.Duration
	notBefore   time.Time
	body        []byte
	hasBody     bool
	implied     string // the content type of a body that nobody described
}

// decodeEnvelope reads one line. What the envelope does not say, the request's headers do. Its errors name the line and
// the field. The item may share the line's memory.
func decodeEnvelope(text []byte, line int, d *head) (queue.Item, error) {
	e := envelope{attrs: maps.Clone(d.attrs), kind: d.attrs["type"], source: d.attrs["source"], key: d.key, ttl: d.ttl, notBefore: d.notBefore}
	if !utf8.Valid(text) {
		return queue.Item{}, invalid(line, "", "not UTF-8")
	}
	seen := map[string]bool{}
	err := ndjson.Fields(text, func(name string, value []byte) error {
		if seen[name] {
			return invalid(line, name, "it is given twice")
		}
		seen[name] = true
		return e.set(line, name, value)
	})
	if _, ok := errors.AsType[*Problem](err); err != nil && !ok {
		return queue.Item{}, invalid(line, "", "not a JSON object: %v", err)
	}
	switch {
	case err != nil:
		return queue.Item{}, err
	case !e.hasBody:
		return queue.Item{}, invalid(line, "body", "it is missing")
	case len(e.body) == 0:
		return queue.Item{}, invalid(line, "body", "it is empty")
	}
	return e.item(), nil
}

func (e *envelope) item() queue.Item {
	e.attr("type", e.kind)
	e.attr("source", e.source)
	e.attr("content-type", cmp.Or(e.contentType, e.implied))
	return queue.Item{
		Attrs: store.MakeAttrs(e.attrs), Key: e.key, TTL: e.ttl, NotBefore: e.notBefore,
		IdempotencyKey: cmp.Or(e.idempotency, e.id), Body: e.body,
	}
}

func (e *envelope) attr(name, value string) {
	if e.attrs[name] = value; value == "" {
		delete(e.attrs, name)
	}
}

// set takes over one member. A null is as good as none, but for a body.
func (e *envelope) set(line int, name string, value []byte) error {
	null := string(value) == "null"
	switch name {
	case "body":
		return e.setBody(line, value)
	case "body_base64":
		if null {
			return nil
		}
		return e.setBase64(line, value)
	case "attrs":
		if null {
			return nil
		}
		return e.setAttrs(line, value)
	case "accepted":
		return nil
	case "ttl", "not_before":
		if null {
			return nil
		}
		return e.setTiming(line, name, value)
	}
	to := e.text(name)
	if to == nil {
		return invalid(line, name, "an envelope has no such field")
	}
	if null {
		return nil
	}
	s, err := ndjson.Unquote(value)
	if err != nil {
		return invalid(line, name, "it %v", err)
	}
	*to = string(s)
	return nil
}

func (e *envelope) setTiming(line int, name string, value []byte) error {
	text, err := ndjson.Unquote(value)
	if err != nil {
		return invalid(line, name, "it %v", err)
	}
	if name == "ttl" {
		e.ttl, err = parseTTL(string(text))
	} else {
		e.notBefore, err = parseNotBefore(string(text))
	}
	if err != nil {
		return invalid(line, name, "%v", err)
	}
	return nil
}

// text is where a member goes that is a string, nil if there is no such member.
func (e *envelope) text(name string) *string {
	switch name {
	case "type":
		return &e.kind
	case "source":
		return &e.source
	case "key":
		return &e.key
	case "content_type":
		return &e.contentType
	case "id":
		return &e.id
	case "idempotency_key":
		return &e.idempotency
	}
	return nil
}

func (e *envelope) setBody(line int, value []byte) error {
	if e.hasBody {
		return invalid(line, "body", "there is a body_base64 too")
	}
	e.hasBody, e.body, e.implied = true, value, "application/json"
	if value[0] != '"' {
		return nil
	}
	text, err := ndjson.Unquote(value)
	if err != nil {
		return invalid(line, "body", "it %v", err)
	}
	e.body, e.implied = text, "text/plain"
	return nil
}

func (e *envelope) setBase64(line int, value []byte) error {
	if e.hasBody {
		return invalid(line, "body_base64", "there is a body too")
	}
	text, err := ndjson.Unquote(value)
	if err != nil {
		return invalid(line, "body_base64", "it %v", err)
	}
	e.hasBody, e.implied = true, "application/octet-stream"
	if e.body, err = base64.StdEncoding.Strict().AppendDecode(nil, text); err != nil {
		return invalid(line, "body_base64", "it is not base64 of RFC 4648, section 4")
	}
	return nil
}

func (e *envelope) setAttrs(line int, value []byte) error {
	seen := map[string]bool{}
	err := ndjson.Fields(value, func(name string, value []byte) error {
		field := "attrs." + name
		if why := badAttr(name); why != "" {
			return invalid(line, field, "%s", why)
		}
		if seen[name] {
			return invalid(line, field, "it is given twice")
		}
		seen[name] = true
		s, err := ndjson.Unquote(value)
		if err != nil {
			return invalid(line, field, "it %v", err)
		}
		e.attr(name, string(s))
		return nil
	})
	if _, ok := errors.AsType[*Problem](err); err != nil && !ok {
		return invalid(line, "attrs", "it is not an object of strings")
	}
	return err
}
