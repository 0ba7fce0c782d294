package crashtest_test

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/recovery/crashtest/book"
	"holdfast/recovery/crashtest/killer"
)

// Whatever the umask is that the service is started with, nobody but its user reads what it keeps.
func TestDataIsForItsUserAlone(t *testing.T) {
	r := newRig(t, three()...)
	r.data += ", max_bytes: 16MiB" // segments of 1 MiB: some are sealed, and have keys
	start := func() {
		r.process = killer.Start(r, "sh", "-c", `umask 0; exec "$@"`, "sh", program, "serve", "--config", r.config())
	}
	start()
	p := &producer{rig: r, name: "secret", batch: 1, keys: true, pad: 100 << 10}
	p.several(30)
	r.kill()
	start()
	r.one("after", book.Durable)
	seen := 0
	err := filepath.WalkDir(filepath.Join(r.dir, "data"), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %v", path, info.Mode())
		}
		seen++
		return err
	})
	if err != nil || seen < 6 {
		t.Errorf("%d files and directories, %v", seen, err)
	}
	r.drain()
}

// Guarantee W4, with the whole service: its log, down to the last detail, what it answers to an admin, and its metrics show
// no secret, while a webhook is refused, fails, and buries.
func TestNoSecretLeavesTheService(t *testing.T) {
	const secret, admin = "hunter2hunter2hunter2", "admin0admin0admin0admin0"
	r := newRig(t, &receiver{name: "hook", workers: 4, fails: 1, more: fmt.Sprintf(
		", retry: {max_retries: 1}, headers: {authorization: \"Bearer %[1]s\", x-own: %[1]s}, sign: {github: %[1]s, custom: {header: x-sig, secret: %[1]s}}", secret)})
	r.receivers[0].server.URL += "/" + secret
	r.server = fmt.Sprintf(", auth: {tokens: [{name: boss, token: %s, scopes: [admin]}, {name: gate, token: %s, scopes: [ingest]}]}}\nlog: {level: debug", admin, secret)
	r.start()
	ask := func(method, path, token, body string) (status int, text string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, r.process.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := r.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		b, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(b)
	}
	for i := range 12 {
		if status, text := ask("POST", "/v1/items", secret, fmt.Sprint("item ", i)); status != http.StatusAccepted {
			t.Fatalf("%d %s", status, text)
		}
	}
	all := map[string]string{}
	_, all["refusal"] = ask("GET", "/v1/status", secret, "")
	_, all["unknown token"] = ask("GET", "/v1/status", secret+"x", "")
	r.until(10*time.Second, "the sink has failed", func() error {
		if _, text := ask("GET", "/v1/sinks", admin, ""); !strings.Contains(text, "status 50") {
			return errUnexpected
		}
		return nil
	})
	for _, path := range []string{"/v1/status", "/v1/sinks", "/v1/sinks/hook", "/v1/dead", "/metrics", "/healthz", "/readyz"} {
		status, text := ask("GET", path, admin, "")
		if all[path] = text; status != http.StatusOK {
			t.Errorf("%s: %d", path, status)
		}
	}
	r.process.Signal(15)
	if _, _, err := r.process.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	all["log"] = r.process.Log()
	for where, text := range all {
		if strings.Contains(text, secret) || strings.Contains(text, admin) {
			t.Errorf("a secret is in %s:\n%s", where, text)
		}
	}
	if !strings.Contains(all["log"], `"DEBUG"`) {
		t.Error("the log has no details")
	}
}
