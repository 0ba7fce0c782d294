package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"holdfast/cmd/holdfast/internal/config"
)

// Guarantee W4, in part: whatever prints a configuration prints no secret.
func TestNoWayOfPrintingShowsASecret(t *testing.T) {
	t.Parallel()
	s := config.NewSecret(hunter2)
	hidden := struct{ inner struct{ s config.Secret } }{}
	hidden.inner.s = s
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3s", "%T"} {
		fmt.Fprintf(&out, verb+verb+verb+verb+"\n", s, &s, hidden, config.Sign{GitHub: s, StandardWebhooks: []config.Secret{s}})
	}
	fmt.Fprint(&out, s, s.GoString(), fmt.Errorf("bad %w", fmt.Errorf("%v", s)))
	logger := slog.New(slog.NewJSONHandler(&out, nil))
	logger.Info("x", "s", s, "p", &s, "all", config.Webhook{URL: s, Headers: map[string]config.Secret{"a": s}})
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "s", s, "hidden", hidden)
	if err := json.NewEncoder(&out).Encode(map[string]any{"s": s, "sign": config.Sign{GitHub: s}}); err != nil {
		t.Fatal(err)
	}
	text, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	if got := out.String(); strings.Contains(got, hunter2) || strings.Contains(got, fmt.Sprintf("%x", hunter2)) ||
		!strings.Contains(got, `"GitHub":"«redacted»"`) {
		t.Errorf("printed:\n%s", got)
	}
	if s.Reveal() != hunter2 || !s.Equal(config.NewSecret(hunter2)) || s.Equal(config.NewSecret("x")) || s.Equal(config.Secret{}) {
		t.Error("a secret does not hold its value")
	}
}

// Guarantee W4, in part: an error's text, its excerpts included, shows no secret, neither one that a reference gave nor
// one that the file holds.
func TestNoErrorShowsASecret(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"secrets", "broken", "unknown_keys", "values", "references", "auth", "exec"} {
		src, err := os.ReadFile("testdata/" + file + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		checkHidden(t, refused(t, string(src)))
	}
	for _, line := range []string{
		`password: hunter2 }`, `api_key: 'a''hunter2'`, `token: "a\"hunter2"`, `secrets: [a, "${X}", hunter2`, `github: "${X:-hunter2}"`,
		`x: "https://me:hunter2@host/"`, `x: {y: {client-secret: hunter2, z: 1}}`, `Cookie: a=b; c=hunter2 # hunter2`, `- whsec_hunter2`,
		`authorization: Basic hunter2`, `"token":"hunter2"`, `secret:hunter2`, `standard_webhooks: ["${A}", hunter2]`, `x: {token: "${X}", secret: hunter2}`,
	} {
		checkHidden(t, refused(t, "version: 1\n\""+strings.Repeat("x", 3)+"\": {"+line+"\n"))
		checkHidden(t, refused(t, "version: 1\n? "+line+"\n"))
	}
}

func checkHidden(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{hunter2, gateToken, signingKey} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is in:\n%s", secret, text)
		}
	}
}

// Guarantee W4, in part: secrets come from the environment or from files, and a careless place is said or refused.
func TestACarelessPlaceOfASecretIsSaid(t *testing.T) {
	t.Parallel()
	sink := "version: 1\nsinks:\n  crm:\n    type: webhook\n    url: https://h/\n    sign:\n      github: "
	for value, want := range map[string]string{
		"${CRM_TOKEN}": "", "${cred:github}": "", "${file:/run/secret}": "",
		"${cred:open}":             "/creds/open is readable by everyone",
		hunter2:                    "the secret is written into the file",
		"${NONE:-" + hunter2 + "}": "the secret is written into the file",
	} {
		cfg := parse(t, sink+value+"\n")
		got := strings.Join(cfg.Warnings, "\n")
		if want == "" && got != "" || !strings.Contains(got, want) || want != "" && !strings.HasPrefix(got, "c.yaml:7:15: sinks.crm.sign.github: ") {
			t.Errorf("%s warns %q, want %q", value, got, want)
		}
		checkHidden(t, got)
	}
	refused(t, sink+"${file:/writable}\n", "c.yaml:7:15: sinks.crm.sign.github: /writable is writable by everyone")
	refused(t, sink+"${EMPTY}\n", "sinks.crm.sign.github: the value is empty")
	env := testEnv()
	env.LookupEnv = func(string) (string, bool) { return "", false }
	if _, err := config.Parse("c.yaml", []byte(sink+"${cred:github}\n"), env); err == nil || !strings.Contains(err.Error(), "LoadCredential") {
		t.Errorf("got %v", err)
	}
}
