package config

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
)

// reservedHeaders are set by holdfast or belong to the connection.
var reservedHeaders = []string{
	"connection", "content-length", "host", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
	"upgrade", "webhook-id", "webhook-signature", "webhook-timestamp",
}

func (d *decoder) webhookFields(w *Webhook) fields {
	return fields{
		"url":     func(v value) { d.hidden(&w.URL, checkURL, v) },
		"headers": func(v value) { d.headers(v, w) },
		"sign": func(v value) {
			d.mapping(v, fields{
				"standard_webhooks": func(v value) { d.standardWebhooks(v, &w.Sign) },
				"github":            d.secret(&w.Sign.GitHub, anySecret),
				"custom":            func(v value) { d.custom(v, &w.Sign) },
			})
		},
		"tls": func(v value) {
			d.mapping(v, fields{
				"ca":                   d.text(&w.TLS.CA, nil),
				"cert":                 d.text(&w.TLS.Cert, nil),
				"key":                  d.text(&w.TLS.Key, nil),
				"insecure_skip_verify": d.boolean(&w.TLS.InsecureSkipVerify),
			})
		},
	}
}

// checkURL never quotes the address: much of what is sent to webhooks needs nothing else than to know it.
func checkURL(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return "not an http or https address with a host"
	case u.User != nil:
		return "a user or password cannot stand in the address: headers.authorization is their place"
	case u.Fragment != "":
		return "a fragment (#…) is not sent: leave it out"
	}
	return ""
}

func anySecret(string) string { return "" }

func (d *decoder) headers(v value, w *Webhook) {
	w.Headers = map[string]Secret{}
	for _, e := range d.entries(v) {
		name := strings.ToLower(e.name)
		_, twice := w.Headers[name]
		switch {
		case !isToken(name):
			d.fail(e.path, e.key, "not the name of a header")
			continue
		case slices.Contains(reservedHeaders, name):
			d.fail(e.path, e.key, "holdfast sets this header itself")
			continue
		case twice:
			d.fail(e.path, e.key, "given twice: the case of a header's name does not count")
			continue
		case !d.given(e.value):
			continue
		}
		w.Headers[name] = d.named(e.value, name, checkHeader)
	}
}

// named decodes the value of a header or a variable. All are kept as Secrets; by its name, some may not stand in the
// file without a warning.
func (d *decoder) named(v value, name string, check func(string) string) (s Secret) {
	decode := d.secret(&s, check)
	if !sensitiveName(name) {
		decode = func(v value) { d.hidden(&s, check, v) }
	}
	decode(v)
	return s
}

// checkHeader refuses what would end the header's line.
func checkHeader(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return "a header cannot hold a line end or a control character"
	}
	return ""
}

// isToken is RFC 9110's token, section 5.6.2.
func isToken(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

func (d *decoder) standardWebhooks(v value, s *Sign) {
	elements := d.elements(v)
	for _, e := range elements {
		var one Secret
		d.secret(&one, func(text string) string {
			key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whsec_"))
			if err != nil || len(key) == 0 {
				return "not a Standard Webhooks secret: whsec_ and base64"
			}
			return ""
		})(e)
		s.StandardWebhooks = append(s.StandardWebhooks, one)
	}
	if d.isList(v) && len(elements) == 0 {
		d.failAt(v.path, "needs at least one secret")
	}
}

func (d *decoder) custom(v value, s *Sign) {
	c := &CustomSignature{Encoding: Hex}
	s.Custom = c
	if !d.mapping(v, fields{
		"header": d.text(&c.Header, func(text string) string {
			if !isToken(text) || slices.Contains(reservedHeaders, strings.ToLower(text)) {
				return "is not the name of a header that can be set"
			}
			return ""
		}),
		"prefix":   d.text(&c.Prefix, checkHeader),
		"encoding": choice(d, &c.Encoding, "an encoding", Hex, Base64),
		"secret":   d.secret(&c.Secret, anySecret),
	}) {
		return
	}
	d.needs(v.path, "header", "where the signature goes")
	d.needs(v.path, "secret", "what signs")
}

// checkTLS looks at what belongs together, and at who else can read the key.
func (d *decoder) checkTLS(path string, w *Webhook) {
	if _, given := d.at[path]; !given {
		return
	}
	_, cert := d.at[path+".cert"]
	_, key := d.at[path+".key"]
	if cert != key {
		d.failAt(path, "cert and key need each other")
	}
	if strings.HasPrefix(strings.ToLower(w.URL.Reveal()), "http:") {
		d.failAt(path, "the url is http: there is no TLS to set up")
	}
	if w.TLS.InsecureSkipVerify {
		d.warnAt(path+".insecure_skip_verify",
			"the receiver's certificate is not verified: anyone on the way can read and change items")
	}
	if w.TLS.Key != "" {
		d.checkKeyFile(path+".key", w.TLS.Key)
	}
}

// checkKeyFile leaves a file that cannot be opened to the sink, which needs it and says so.
func (d *decoder) checkKeyFile(path, name string) {
	f, err := d.env.Open(name)
	if err != nil {
		return
	}
	defer f.Close()
	switch warn, err := exposed(f, name); {
	case err != nil:
		d.failAt(path, err.Error())
	case warn != "":
		d.warnAt(path, warn)
	}
}
