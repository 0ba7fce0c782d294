package config

import (
	"fmt"
	"regexp"
)

// minToken is how many characters a token has at least: fewer can be guessed.
const minToken = 16

// tokenForm is what an Authorization header carries (RFC 6750, section 2.1).
var tokenForm = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

func (d *decoder) auth(v value, a *Auth) {
	if d.mapping(v, fields{"tokens": func(v value) { d.tokens(v, a) }}) {
		d.needs(v.path, "tokens", "who may do what")
	}
}

// tokens decodes them all. Two names with one token would leave it open who came.
func (d *decoder) tokens(v value, a *Auth) {
	elements := d.elements(v)
	names := map[string]string{}
	for _, e := range elements {
		t := d.token(e)
		if other, taken := names[t.Name]; taken && t.Name != "" {
			d.failAt(e.path+".name", fmt.Sprintf("is the name of %s, too", other))
		}
		for i, other := range a.Tokens {
			if t.Token.IsSet() && t.Token.Equal(other.Token) {
				d.failAt(e.path+".token", fmt.Sprintf("is the token of %s[%d], too", v.path, i))
				break
			}
		}
		names[t.Name] = e.path
		a.Tokens = append(a.Tokens, t)
	}
	if d.isList(v) && len(elements) == 0 {
		d.failAt(v.path, "needs at least one token")
	}
}

func (d *decoder) token(v value) (t Token) {
	if !d.mapping(v, fields{
		"name":   d.text(&t.Name, checkName),
		"token":  d.secret(&t.Token, checkToken),
		"scopes": func(v value) { d.scopes(v, &t) },
	}) {
		d.src.conceal(start(v.node)) // a token without its key
		return t
	}
	d.needs(v.path, "name", "what logs and metrics call its holder")
	d.needs(v.path, "token", "what its holder shows, best as ${file:/path}")
	d.needs(v.path, "scopes", "what its holder may do, of ingest, read, operate and admin")
	return t
}

func (d *decoder) scopes(v value, t *Token) {
	elements := d.elements(v)
	for _, e := range elements {
		var s Scope
		choice(d, &s, "a scope", ScopeIngest, ScopeRead, ScopeOperate, ScopeAdmin)(e)
		t.Scopes = append(t.Scopes, s)
	}
	if d.isList(v) && len(elements) == 0 {
		d.failAt(v.path, "needs at least one scope: ingest, read, operate or admin")
	}
}

// checkToken never quotes the token.
func checkToken(text string) string {
	switch {
	case len(text) < minToken:
		return fmt.Sprintf("the token is shorter than %d characters: it can be guessed", minToken)
	case !tokenForm.MatchString(text):
		return "the token holds what an Authorization header cannot carry: letters, digits and ._~+/- are good"
	}
	return ""
}

func checkName(text string) string {
	if !sinkName.MatchString(text) {
		return "is not a name: 1 to 63 of a-z, 0-9, _ and -, the first a letter or digit"
	}
	return ""
}
