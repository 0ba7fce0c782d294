package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/queue"
)

func token(name string, scopes ...Scope) Token {
	return Token{Name: name, Hash: sha256.Sum256([]byte("secret-of-" + name)), Scopes: scopes}
}

func allTokens() []Token {
	return []Token{token("ingest", Ingest), token("read", Read), token("operate", Ingest, Operate), token("admin", Admin)}
}

// Every route, and the scope it needs.
var scopeOf = map[string]Scope{
	"POST /v1/items": Ingest, "POST /v1/stream": Ingest,
	"GET /v1/items/ID": Read, "HEAD /v1/items/ID": Read, "GET /v1/items/ID/body": Operate, "HEAD /v1/items/ID/body": Operate,
	"GET /v1/sinks": Read, "GET /v1/sinks/crm": Read, "POST /v1/sinks/crm/pause": Operate, "POST /v1/sinks/crm/resume": Operate,
	"GET /v1/dead": Operate, "GET /v1/dead/crm/ID": Operate, "DELETE /v1/dead/crm/ID": Operate, "POST /v1/dead/requeue": Operate, "POST /v1/dead/purge": Operate,
	"GET /v1/status": Read, "GET /metrics": Read, "GET /healthz": open, "GET /readyz": open,
	"GET /": Ingest, "GET /v2/nothing": Ingest, "PUT /v1/items": Ingest, "DELETE /healthz": Ingest, "GET /v1/items": Ingest,
}

func TestTokensOpenWhatTheirScopeSays(t *testing.T) {
	q := &fakeQueue{items: []queue.Item{{Body: []byte("x")}, {Body: []byte("y")}}}
	reg := prometheus.NewRegistry()
	ts, s := serve(t, q, Options{Tokens: allTokens(), Gatherer: reg, Registerer: reg})
	for route, need := range scopeOf {
		method, path, _ := strings.Cut(route, " ")
		path = strings.ReplaceAll(path, "ID", idOf(1).String())
		body := ""
		if method == "POST" {
			body = `{"all":true}`
		}
		none := call(t, ts, method, path, body)
		if want := map[bool]int{true: 401}[need > open]; want > 0 && (none.StatusCode != want || !strings.HasPrefix(none.Header.Get("WWW-Authenticate"), `Bearer realm="holdfast"`)) || need == open && none.StatusCode == 401 {
			t.Errorf("%s without a token: %d %s", route, none.StatusCode, none.body)
		}
		for scope := Ingest; scope <= Admin; scope++ {
			a := call(t, ts, method, path, body, "Authorization", "Bearer secret-of-"+scope.String())
			if denied := a.StatusCode == 401 || a.StatusCode == 403; denied != (scope < need) {
				t.Errorf("%s for %v: %d %s", route, scope, a.StatusCode, a.body)
			}
			if scope < need && (a.StatusCode != 403 || method != "HEAD" && !strings.Contains(a.problem(t).Detail, need.String()) || !strings.Contains(a.Header.Get("WWW-Authenticate"), `scope="`+need.String()+`"`)) {
				t.Errorf("%s for %v: %s, %v", route, scope, a.body, a.Header)
			}
		}
	}
	if counter(t, s, "stream", "unauthorized") != 1 || counter(t, s, "http", "unauthorized") < 15 || counter(t, s, "http", "forbidden") < 15 {
		t.Error("what was not let in is not counted")
	}
}

func TestEveryRouteIsInTheTable(t *testing.T) {
	source, err := os.ReadFile("server.go")
	if err != nil {
		t.Fatal(err)
	}
	routes := regexp.MustCompile(`s\.route\("(/[^"]+)", methods\{"`).FindAllSubmatch(source, -1)
	for _, m := range routes {
		path := strings.NewReplacer("{id}", "ID", "{sink}", "crm").Replace(string(m[1]))
		if !slices.ContainsFunc(slices.Collect(maps.Keys(scopeOf)), func(route string) bool { return strings.HasSuffix(route, " "+path) }) {
			t.Errorf("%s is not in the table", m[1])
		}
	}
	if len(routes) < 15 {
		t.Errorf("only %d routes are known", len(routes))
	}
}

func TestWrongTokensAreNotLetInNorWrittenDown(t *testing.T) {
	var log bytes.Buffer
	q := &fakeQueue{}
	ts, _ := serve(t, q, Options{Tokens: allTokens(), Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	const secret = "secret-of-ingest"
	for name, h := range map[string][]string{
		"none": nil, "empty": {"Authorization", ""}, "scheme alone": {"Authorization", "Bearer"}, "no token": {"Authorization", "Bearer  "},
		"basic": {"Authorization", "Basic " + secret}, "bare": {"Authorization", secret}, "longer": {"Authorization", "Bearer " + secret + "x"},
		"shorter": {"Authorization", "Bearer secret-of-inges"}, "upper case": {"Authorization", "Bearer SECRET-OF-INGEST"}, "two": {"Authorization", "Bearer " + secret, "Authorization", "Bearer " + secret},
		"with more": {"Authorization", "Bearer " + secret + ", Basic x"}, "its hash": {"Authorization", fmt.Sprintf("Bearer %x", sha256.Sum256([]byte(secret)))},
		"cookie": {"Cookie", "token=" + secret}, "elsewhere": {"X-Token", secret},
	} {
		for _, path := range []string{"/v1/items", "/v1/stream", "/v1/items?access_token=" + secret} {
			a := call(t, ts, "POST", path, "x\n", h...)
			if p := a.problem(t); a.StatusCode != 401 || p.Code != "unauthorized" || strings.Contains(strings.ToLower(a.body), "secret") {
				t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
			}
			if invalid := strings.Contains(a.Header.Get("WWW-Authenticate"), "invalid_token"); invalid != strings.Contains("longer shorter upper case with more its hash", name) {
				t.Errorf("%s: %v", name, a.Header)
			}
		}
	}
	for _, scheme := range []string{"Bearer", "bearer", "BEARER "} {
		if a := call(t, ts, "POST", "/v1/items", "x", "Authorization", scheme+" "+secret); a.StatusCode != 202 {
			t.Errorf("%s: %s", scheme, a.body)
		}
	}
	if len(q.stored()) != 3 || strings.Contains(strings.ToLower(log.String()), "secret") {
		t.Errorf("%d stored, log: %s", len(q.items), log.String())
	}
}

// Guarantee A4, in part: keys belong to the token that brought them.
func TestTokenOwnsItsIdempotencyKeys(t *testing.T) {
	var scopes []string
	q := &fakeQueue{submit: func(_ context.Context, r queue.Request) error { scopes = append(scopes, r.Scope); return nil }}
	ts, _ := serve(t, q, Options{Tokens: allTokens()})
	for _, name := range []string{"ingest", "operate"} {
		for _, path := range []string{"/v1/items", "/v1/stream"} {
			call(t, ts, "POST", path, "x\n", "Authorization", "Bearer secret-of-"+name)
		}
	}
	ts, _ = serve(t, q, Options{})
	call(t, ts, "POST", "/v1/items", "x", "Authorization", "Bearer secret-of-ingest")
	call(t, ts, "POST", "/v1/stream", "x")
	if got := strings.Join(scopes, " "); got != "ingest ingest operate operate http http" {
		t.Errorf("%s", got)
	}
}

func TestTokensThatWouldLetInTheWrongOnesAreRefused(t *testing.T) {
	one := token("a", Ingest)
	for name, tokens := range map[string][]Token{
		"no name": {token("", Ingest)}, "no hash": {{Name: "a", Scopes: []Scope{Ingest}}}, "hash of nothing": {{Name: "a", Hash: sha256.Sum256(nil), Scopes: []Scope{Ingest}}},
		"no scope": {token("a")}, "unknown scope": {token("a", Admin+1)}, "scope of none": {token("a", Ingest, open)},
		"same name": {one, {Name: "a", Hash: sha256.Sum256([]byte("b")), Scopes: one.Scopes}}, "same token": {one, {Name: "b", Hash: one.Hash, Scopes: []Scope{Admin}}},
	} {
		if _, err := New(&fakeQueue{}, Options{Tokens: tokens}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
