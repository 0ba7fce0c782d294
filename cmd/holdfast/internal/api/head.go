package api

import (
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A head is what a request's headers say of the items in its body.
type head struct {
	format      format
	encoding    encoding
	contentType string            // as the header has it; application/octet-stream if it is not there
	attrs       map[string]string // without content-type
	key         string
	idempotency string
	ttl         time.Duration // 0: for ever
	notBefore   time.Time     // zero: at once
	wait        time.Duration // how long the producer waits for the sinks; 0: it does not
}

// waitSeconds is wait as the headers have it.
func (d *head) waitSeconds() string { return strconv.Itoa(int(d.wait / time.Second)) }

// parseHead reads the headers of a request that brings items. It refuses what it does not know of holdfast's own.
func parseHead(h http.Header) (head, error) {
	var d head
	if err := d.media(h); err != nil {
		return d, err
	}
	if err := d.coding(h); err != nil {
		return d, err
	}
	if err := d.describe(h); err != nil {
		return d, err
	}
	var err error
	if d.idempotency, err = idempotencyKey(h); err != nil {
		return d, err
	}
	if d.idempotency != "" && d.format.several() {
		return d, invalid(0, "Idempotency-Key", "it names one item, and this format has several: use envelopes with an idempotency_key each, or CloudEvents")
	}
	d.wait = preferredWait(h)
	return d, nil
}

// The prefixes of holdfast's headers, in the form that net/http gives them.
const prefix, attrPrefix = "Holdfast-", "Holdfast-Attr-"

// describe reads the headers that become the items' key and attributes.
func (d *head) describe(h http.Header) error {
	d.attrs = map[string]string{}
	for name := range h {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		v, err := one(h, name)
		if err != nil {
			return err
		}
		switch attr, isAttr := strings.CutPrefix(name, attrPrefix); {
		case name == "Holdfast-Key":
			d.key = v
		case name == "Holdfast-Type":
			d.attrs["type"] = v
		case name == "Holdfast-Source":
			d.attrs["source"] = v
		case name == "Holdfast-Ttl":
			if d.ttl, err = parseTTL(v); err != nil {
				return invalid(0, name, "%v", err)
			}
		case name == "Holdfast-Not-Before":
			if d.notBefore, err = parseNotBefore(v); err != nil {
				return invalid(0, name, "%v", err)
			}
		case !isAttr:
			return invalid(0, name, "there is no such header")
		default:
			attr = strings.ToLower(attr)
			if why := badAttr(attr); why != "" {
				return invalid(0, name, "%s", why)
			}
			d.attrs[attr] = v
		}
	}
	if tp := h["Traceparent"]; len(tp) == 1 && isTraceparent(tp[0]) && d.attrs["traceparent"] == "" {
		d.attrs["traceparent"] = tp[0]
	}
	for name, v := range d.attrs {
		if v == "" {
			delete(d.attrs, name)
		}
	}
	return nil
}

// one is the value of a header that may be there once, and is text.
func one(h http.Header, name string) (string, error) {
	v := h.Values(name)
	switch {
	case len(v) == 0:
		return "", nil
	case len(v) > 1:
		return "", invalid(0, name, "it is given %d times", len(v))
	case !utf8.ValidString(v[0]):
		return "", invalid(0, name, "it is not UTF-8")
	}
	return v[0], nil
}

// badAttr says what is wrong with the name of an attribute, nothing if it may be used.
func badAttr(name string) string {
	if name == "type" || name == "source" {
		return name + " is no attribute to be set here: it has a place of its own"
	}
	if len(name) < 1 || len(name) > 64 {
		return "an attribute's name has 1 to 64 characters"
	}
	for _, c := range []byte(name) {
		if (c < 'a' || 'z' < c) && (c < '0' || '9' < c) {
			return "an attribute's name has only the characters a-z and 0-9"
		}
	}
	return ""
}

// traceparent is what W3C Trace Context, section 3.2, calls valid; what is not is to be ignored.
var traceparent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$`)

func isTraceparent(s string) bool {
	return len(s) <= 512 && utf8.ValidString(s) && traceparent.MatchString(s)
}

// idempotencyKey reads the Idempotency-Key: a string of RFC 8941, or the same characters without the quotes.
func idempotencyKey(h http.Header) (string, error) {
	const name = "Idempotency-Key"
	if _, given := h[name]; !given {
		return "", nil
	}
	v, err := one(h, name)
	if err != nil {
		return "", err
	}
	if inner, quoted := strings.CutPrefix(v, `"`); quoted {
		if v, quoted = unquote(inner); !quoted {
			return "", invalid(0, name, "its quotes do not match")
		}
	}
	if v == "" {
		return "", invalid(0, name, "it is empty")
	}
	return v, nil
}

// unquote reads what follows an opening quote, up to the closing one, which must be the end.
func unquote(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), i == len(s)-1
		case '\\':
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", false
}

// maxWait bounds Prefer: wait.
const maxWait = 300

// preferredWait reads wait of the Prefer header, RFC 7240; other preferences are none of ours. A preference is no order:
// the first that is given counts, more than maxWait is maxWait, and what is no number is as if it were not there.
func preferredWait(h http.Header) time.Duration {
	for _, v := range h.Values("Prefer") {
		for pref := range strings.SplitSeq(v, ",") {
			pref, _, _ = strings.Cut(pref, ";")
			name, n, _ := strings.Cut(pref, "=")
			if strings.EqualFold(strings.TrimSpace(name), "wait") {
				return time.Duration(waitSeconds(strings.TrimSpace(n))) * time.Second
			}
		}
	}
	return 0
}

// waitSeconds is a number of seconds from 0 to maxWait, with quotes around it or without.
func waitSeconds(s string) uint64 {
	if len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	n, err := strconv.ParseUint(s, 10, 64) // one that is too large for it is its maximum
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0
	}
	return min(n, maxWait)
}

// waitOf is a wait of so many seconds, if they are not too many.
func waitOf(text string) (time.Duration, bool) {
	n, err := strconv.Atoi(text)
	return time.Duration(n) * time.Second, err == nil && 1 <= n && n <= maxWait
}
