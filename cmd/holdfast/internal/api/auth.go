package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// A Scope is how much a token may do. Each includes the ones before it.
type Scope int

// The scopes. What needs none is open to all.
const (
	open    Scope = iota
	Ingest        // bring items
	Read          // look at metadata and metrics
	Operate       // see payloads and dead letters, act on sinks and dead letters
	Admin         // the rest
)

var scopeNames = []string{"", "ingest", "read", "operate", "admin"}

func (s Scope) String() string { return scopeNames[s] }

// A Token lets its bearer in.
type Token struct {
	Name   string   // owns the idempotency keys of what it brings; not empty, and unique
	Hash   [32]byte // SHA-256 of the token, which is random and long: it needs no salt
	Scopes []Scope  // the largest counts; not empty
}

func (t *Token) may(need Scope) bool { return slices.Max(t.Scopes) >= need }

// checkTokens refuses tokens that would let in the wrong ones.
func checkTokens(tokens []Token) error {
	for i, t := range tokens {
		switch {
		case t.Name == "":
			return fmt.Errorf("token %d has no name", i)
		case t.Hash == [32]byte{} || t.Hash == sha256.Sum256(nil):
			return fmt.Errorf("token %q is empty", t.Name)
		case len(t.Scopes) == 0 || slices.Min(t.Scopes) < Ingest || slices.Max(t.Scopes) > Admin:
			return fmt.Errorf("token %q has no scope, or one that does not exist", t.Name)
		}
		for _, other := range tokens[:i] {
			if other.Name == t.Name || other.Hash == t.Hash {
				return fmt.Errorf("token %q is there twice", t.Name)
			}
		}
	}
	return nil
}

type tokenKey struct{}

// admit lets a request in that has the scope it needs, and returns it with its token's name. Without tokens all are let
// in.
func (s *Server) admit(r *http.Request, need Scope) (*http.Request, error) {
	if need == open || len(s.o.Tokens) == 0 {
		return r, nil
	}
	given, err := bearer(r.Header)
	if err != nil {
		return r, &Problem{Code: Unauthorized, Detail: err.Error()}
	}
	t := s.tokenOf(given)
	switch {
	case t == nil:
		return r, &Problem{Code: Unauthorized, Detail: "the token is not one of this server's", challenge: `, error="invalid_token"`}
	case !t.may(need):
		return r, &Problem{
			Code: Forbidden, Detail: "the token " + quote(t.Name) + " has not the scope " + need.String() + ", which this needs",
			challenge: `, error="insufficient_scope", scope="` + need.String() + `"`,
		}
	}
	return r.WithContext(context.WithValue(r.Context(), tokenKey{}, t.Name)), nil
}

// bearer is the token that a request shows, RFC 6750 section 2.1.
func bearer(h http.Header) (string, error) {
	v := h.Values("Authorization")
	if len(v) != 1 {
		return "", errors.New("this needs a token: Authorization: Bearer …")
	}
	scheme, token, _ := strings.Cut(v[0], " ")
	if token = strings.Trim(token, " "); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", errors.New("the Authorization is not of the form Bearer …")
	}
	return token, nil
}

// tokenOf finds a token in a time that does not tell which, nor how much of it is right.
func (s *Server) tokenOf(given string) *Token {
	hash := sha256.Sum256([]byte(given))
	found := -1
	for i := range s.o.Tokens {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(hash[:], s.o.Tokens[i].Hash[:]), i, found)
	}
	if found < 0 {
		return nil
	}
	return &s.o.Tokens[found]
}

// keyScope is who owns the idempotency keys of a request: its token, or sourceHTTP for all producers where there are no tokens to tell them apart.
func keyScope(ctx context.Context) string {
	if name, ok := ctx.Value(tokenKey{}).(string); ok {
		return name
	}
	return sourceHTTP
}

// keepOut answers a request that was not admitted, and counts it. Nothing of what it showed is told or logged.
func (s *Server) keepOut(w http.ResponseWriter, r *http.Request, err error) {
	p := s.problem(err)
	w.Header().Set("WWW-Authenticate", `Bearer realm="holdfast"`+p.challenge)
	source := sourceHTTP
	if r.URL.Path == streamPath {
		source = sourceStream
	}
	s.metrics.reject(source, p)
	s.refuse(w, p)
}
