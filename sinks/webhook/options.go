package webhook

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"holdfast/sinks"
)

// Options of a Sink. The zero value of all but URL is production. Its String and GoString show no secret.
type Options struct {
	URL     string            // http or https; required. User info in it becomes basic authentication
	Headers map[string]string // sent with each request, a content-type in place of the item's; values are secrets

	Format          sinks.Format // raw (the default), json, cloudevents or cloudevents_binary
	Source          string       // of a CloudEvent whose item has no source; default /holdfast
	BatchWithoutIDs bool         // with raw: send a batch as lines in one request, although no line has its id

	Signing Signing
	TLS     TLS

	Concurrency   int           // connections to keep open; default 1
	RetryAfterMax time.Duration // what a Retry-After is cut to; default 1h
	Version       string        // of holdfast, for the User-Agent; default dev
}

var formats = []sinks.Format{sinks.Raw, sinks.JSON, sinks.CloudEvents, sinks.CloudEventsBinary}

// Signing says how requests are signed. Each that is set adds its headers.
type Signing struct {
	StandardWebhooks []string // secrets, base64 with or without whsec_; several during a rotation
	GitHub           string   // secret of X-Hub-Signature-256
	Custom           Custom
}

// Custom is an HMAC-SHA256 of the body in a header of one's own.
type Custom struct {
	Header   string // empty: none
	Prefix   string // before the encoded signature
	Encoding string // hex (the default) or base64
	Secret   string
}

// TLS says whom to trust. TLS is at least 1.2.
type TLS struct {
	CAFile             string // PEM; in place of the system's authorities
	CertFile, KeyFile  string // PEM; a client certificate, read anew for each handshake
	InsecureSkipVerify bool   // trust anyone
}

// String names the host only.
func (o Options) String() string {
	u, err := url.Parse(o.URL)
	if err != nil {
		return "webhook"
	}
	return "webhook " + u.Host
}

// GoString is String, so that %#v shows no secret either.
func (o Options) GoString() string { return o.String() }

// String says which signatures there are.
func (s Signing) String() string {
	return fmt.Sprintf("signing{standard webhooks: %d, github: %t, custom: %t}", len(s.StandardWebhooks), s.GitHub != "", s.Custom.Header != "")
}

// GoString is String.
func (s Signing) GoString() string { return s.String() }

// String shows all but the secret.
func (c Custom) String() string {
	return fmt.Sprintf("custom{%s: %s%s}", c.Header, c.Prefix, c.Encoding)
}

// GoString is String.
func (c Custom) GoString() string { return c.String() }

func (o Options) withDefaults() (Options, error) {
	o.Format = cmp.Or(o.Format, sinks.Raw)
	o.Concurrency = cmp.Or(o.Concurrency, 1)
	o.RetryAfterMax = cmp.Or(o.RetryAfterMax, time.Hour)
	o.Version = cmp.Or(o.Version, "dev")
	o.Signing.Custom.Encoding = cmp.Or(o.Signing.Custom.Encoding, "hex")
	switch {
	case !slices.Contains(formats, o.Format):
		return o, fmt.Errorf("format: %q is none of %q", o.Format, formats)
	case o.BatchWithoutIDs && o.Format != sinks.Raw:
		return o, errors.New("batch.without_ids: is for format raw")
	case o.Concurrency < 0:
		return o, errors.New("concurrency: is negative")
	case o.RetryAfterMax < 0:
		return o, errors.New("retry_after_max: is negative")
	case !headerValue(o.Version):
		return o, errors.New("version: is not fit for a header")
	case (o.TLS.CertFile == "") != (o.TLS.KeyFile == ""):
		return o, errors.New("tls: a client certificate needs both cert_file and key_file")
	}
	return o, errors.Join(checkURL(o.URL), o.checkHeaders(), o.Signing.check())
}

// checkURL does not say what the URL is: it may hold a password or a token, and so may the parser's error.
func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return errors.New("url: is required")
	case err != nil:
		return errors.New("url: is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("url: is neither http nor https")
	case u.Hostname() == "":
		return errors.New("url: has no host")
	}
	return nil
}

// ours are headers that the sink or HTTP itself sets.
var ours = []string{"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "X-Hub-Signature-256",
	"Content-Length", "Transfer-Encoding", "Connection", "Trailer", "Te", "Upgrade", "Expect"}

func (o Options) checkHeaders() error {
	for name, value := range o.Headers {
		switch {
		case !headerName(name):
			return fmt.Errorf("headers: %q is not the name of a header", name)
		case !headerValue(value):
			return fmt.Errorf("headers.%s: the value is not fit for a header", name)
		case isOurs(name), o.Format == sinks.CloudEventsBinary && strings.HasPrefix(strings.ToLower(name), "ce-"):
			return fmt.Errorf("headers.%s: cannot be set", name)
		}
	}
	return nil
}

func isOurs(name string) bool {
	name = http.CanonicalHeaderKey(name)
	for _, h := range ours {
		if h == name {
			return true
		}
	}
	return false
}

func (s Signing) check() error {
	for i, secret := range s.StandardWebhooks {
		if key, err := standardKey(secret); err != nil || len(key) == 0 {
			return fmt.Errorf("sign.standard_webhooks[%d]: is not base64", i)
		}
	}
	c := s.Custom
	if c.Header == "" {
		if c.Secret != "" {
			return errors.New("sign.custom.header: is required")
		}
		return nil
	}
	switch {
	case !headerName(c.Header) || isOurs(c.Header):
		return fmt.Errorf("sign.custom.header: %q cannot be set", c.Header)
	case !headerValue(c.Prefix):
		return errors.New("sign.custom.prefix: is not fit for a header")
	case c.Encoding != "hex" && c.Encoding != "base64":
		return fmt.Errorf("sign.custom.encoding: %q is neither hex nor base64", c.Encoding)
	case c.Secret == "":
		return errors.New("sign.custom.secret: is required")
	}
	return nil
}

func standardKey(secret string) ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
}

// headerName says whether s is a token (RFC 9110, section 5.6.2).
func headerName(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(s[i])) {
			return false
		}
	}
	return s != ""
}

// headerValue says whether s may be sent as it is (RFC 9110, section 5.5).
func headerValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
