package subject

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"holdfast/bench/harness"
)

// A held library keeps its items over a restart, and delivers each once when it is released.
func TestHeldLibraryDeliversItsBacklogOnce(t *testing.T) {
	dir := t.TempDir()
	if harness.OnMemory(dir) {
		t.Skip("the scratch directory is in memory; TMPDIR may name a disk")
	}
	s, err := harness.NewSession(harness.Options{Dir: dir, Smoke: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := s.Restart(t.Context(), Library(2), 1000)
	if err != nil || b.Waiting != 1024 || b.Unique != 2048 || b.Drain <= 0 || b.Start <= 0 {
		t.Errorf("%+v, %v", b, err)
	}
}

// What the server does not accept is an error that has its words.
func TestRefusedItemIsAnError(t *testing.T) {
	answer := func(status int, body string) string {
		v := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).EnableFullDuplex()
			w.WriteHeader(status)
			io.WriteString(w, body)
			if r.URL.Path == "/v1/stream" {
				http.NewResponseController(w).Flush()
			}
			io.Copy(io.Discard, r.Body)
		}))
		t.Cleanup(v.CloseClientConnections)
		return strings.TrimPrefix(v.URL, "http://")
	}
	for _, c := range []struct {
		name   string
		in     door
		status int
		body   string
		want   string
	}{
		{"post", dialPost, http.StatusServiceUnavailable, `{"code":"full"}`, `503 {"code":"full"}`},
		{"stream", dialStream, http.StatusOK, `{"code":"full"}` + "\n", `not accepted: {"code":"full"}`},
		{"stream that is not opened", dialStream, http.StatusNotFound, "no", "404 Not Found"},
	} {
		err := func() error {
			client, err := c.in(answer(c.status, c.body), 1)
			if err != nil {
				return err
			}
			return client.Put(t.Context(), 0, 1)
		}()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}
