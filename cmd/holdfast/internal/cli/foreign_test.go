package cli_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What answers 2xx, and not as a holdfast server does, is believed nothing.
func TestA2xxOfSomethingElseIsNotBelieved(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"ok":true}`, `{}`, `[]`, `"ok"`, `{"id":"","state":null,"count":null,"status":""}`, `{"status":"up"}`} {
		for _, status := range []int{200, 202} {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(status)
				fmt.Fprint(w, body)
			}))
			t.Cleanup(s.Close)
			for _, args := range [][]string{
				{"put", "--whole", "-"}, {"put", "--whole", "--wait", "1s", "-"}, {"dead", "purge", "--all", "--yes"}, {"dead", "purge", "crm", "i1", "--yes"},
				{"dead", "requeue", "--all", "--yes"}, {"dead", "requeue", "--all", "--dry-run"}, {"health"}, {"health", "--ready"}, {"dead", "ls"}, {"sink", "ls"},
				{"sink", "pause", "crm"}, {"item", "get", "i1"}, {"status"},
			} {
				code, out, notices := shell{server: s.URL, stdin: strings.NewReader("x\n")}.run(t.Context(), args...)
				if code != 1 || out != "" && args[0] != "put" || !strings.Contains(notices, "not as a holdfast server does") {
					t.Errorf("%v to %d %s: exit %d: %s%s", args, status, body, code, out, notices)
				}
			}
		}
	}
}
