package cli_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/cmd/holdfast/internal/client/clienttest"
)

// asking is a server that wants a token, and says so as the service does.
func asking(t *testing.T) *httptest.Server {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"status":401,"code":"unauthorized","detail":"this needs a token"}`))
	}))
	t.Cleanup(s.Close)
	return s
}

// certificate writes a server's certificate to a file, as the authority that signed it.
func certificate(t *testing.T, s *httptest.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestARefusalForWantOfATokenSaysWhereOneIsGiven(t *testing.T) {
	t.Parallel()
	s := asking(t)
	ca := certificate(t, s)
	for _, verb := range []string{"status", "sink ls", "put"} {
		code, _, notices := shell{server: s.URL, stdin: strings.NewReader("x\n")}.run(t.Context(), append(strings.Fields(verb), "--ca", ca)...)
		if code != 1 || !strings.Contains(notices, "unauthorized") || !strings.Contains(notices, "--token-file or HOLDFAST_TOKEN") {
			t.Errorf("%s: exit %d: %s", verb, code, notices)
		}
	}
}

func TestTheAuthorityOfAServerCanBeNamed(t *testing.T) {
	t.Parallel()
	s := asking(t)
	code, _, notices := shell{server: s.URL}.run(t.Context(), "status")
	if code != 5 || !strings.Contains(notices, "--ca or HOLDFAST_CA") {
		t.Errorf("without an authority: exit %d: %s", code, notices)
	}
	for name, sh := range map[string]shell{"flag": {server: s.URL}, "variable": {server: s.URL, env: map[string]string{"HOLDFAST_CA": certificate(t, s)}}} {
		args := []string{"status"}
		if name == "flag" {
			args = append(args, "--ca", certificate(t, s))
		}
		if code, _, notices := sh.run(t.Context(), args...); code != 1 || !strings.Contains(notices, "unauthorized") {
			t.Errorf("%s: exit %d: %s", name, code, notices)
		}
	}
}

func TestTimesThatTheServerTakesAreTakenHere(t *testing.T) {
	t.Parallel()
	s := clienttest.New(t)
	for _, ttl := range []string{"90s", "7d", "1d12h", "1ms"} {
		code, _, notices := shell{server: s.URL, stdin: strings.NewReader("x\n")}.run(t.Context(), "put", "--ttl", ttl, "--not-before", "2030-01-01T00:00:00Z")
		if code != 0 {
			t.Errorf("--ttl %s: exit %d: %s", ttl, code, notices)
		}
	}
}

func TestTokensInCarelessFilesAreSaidOrRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	for _, c := range []struct {
		mode os.FileMode
		code int
		want string
	}{{0o600, 0, ""}, {0o644, 0, "readable by everyone"}, {0o666, 78, "writable by everyone"}} {
		if err := os.WriteFile(path, []byte("0123456789abcdef\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		code, _, notices := shell{server: world(t).URL}.run(t.Context(), "status", "--token-file", path)
		if code != c.code || !strings.Contains(notices, c.want) || c.want == "" && notices != "" {
			t.Errorf("mode %o: exit %d: %s", c.mode, code, notices)
		}
	}
}
