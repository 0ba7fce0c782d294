package client

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"unicode/utf8"
)

// EnvelopeEncoder writes lines as envelopes (application/vnd.holdfast.items+ndjson)
// whose item has the same bytes and content type as the plain line would have had.
type EnvelopeEncoder struct {
	prefix []byte // the envelope up to what differs from line to line, open at the end
}

// NewEnvelopeEncoder makes an encoder that gives every line this meta.
func NewEnvelopeEncoder(m Meta) (*EnvelopeEncoder, error) {
	b, err := json.Marshal(struct {
		Type      string            `json:"type,omitempty"`
		Source    string            `json:"source,omitempty"`
		Key       string            `json:"key,omitempty"`
		Attrs     map[string]string `json:"attrs,omitempty"`
		TTL       string            `json:"ttl,omitempty"`
		NotBefore string            `json:"not_before,omitempty"`
	}{m.Type, m.Source, m.Key, m.Attrs, m.TTL, m.NotBefore})
	if err != nil {
		return nil, err
	}
	prefix := bytes.TrimSuffix(b, []byte("}"))
	if len(prefix) > 1 {
		prefix = append(prefix, ',')
	}
	return &EnvelopeEncoder{prefix: prefix}, nil
}

// Append appends the envelope of line to dst, without an LF. idempotencyKey
// may be empty. A key that is not UTF-8 is an error.
func (e *EnvelopeEncoder) Append(dst, line []byte, idempotencyKey string) ([]byte, error) {
	dst = append(dst, e.prefix...)
	if idempotencyKey != "" {
		key, err := json.Marshal(idempotencyKey)
		if err != nil {
			return nil, err
		}
		dst = append(append(append(dst, `"idempotency_key":`...), key...), ',')
	}
	isJSON := json.Valid(line)
	if isJSON {
		dst = append(dst, `"content_type":"application/json",`...)
	} else {
		dst = append(dst, `"content_type":"text/plain",`...)
	}
	switch {
	case isJSON && standsAsItIs(line):
		dst = append(append(dst, `"body":`...), line...)
	case !isJSON && utf8.Valid(line):
		text, err := json.Marshal(string(line))
		if err != nil {
			return nil, err
		}
		dst = append(append(dst, `"body":`...), text...)
	default:
		dst = append(dst, `"body_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, line)
		dst = append(dst, '"')
	}
	return append(dst, '}'), nil
}

// standsAsItIs says whether a JSON line comes out of an envelope's body byte
// for byte: a string would lose its quotes, blanks around it their place, and
// null may read as no body at all.
func standsAsItIs(line []byte) bool {
	return utf8.Valid(line) && line[0] != '"' && line[0] != 'n' && len(bytes.Trim(line, " \t\r\n")) == len(line)
}
