package api

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestListensWhereTheAddressSays(t *testing.T) {
	l, err := Listen("127.0.0.1:0")
	if err != nil || l.Addr().Network() != "tcp" {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Listen(l.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("the same port twice: %v", err)
	}
	for _, bad := range []string{"unix://", "unix://run/x.sock", "unix:/x.sock", "nonsense", "unix:///" + filepath.Join(t.TempDir(), "none", "x")} {
		if l, err := Listen(bad); err == nil {
			l.Close()
			t.Errorf("%s is listened at", bad)
		}
	}
}

func TestUnixSocketIsForTheGroupAndGoesWithTheListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// Somebody answers: it stays.
	if _, err := Listen("unix://" + path); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a socket that is in use: %v", err)
	}
	s, err := New(&fakeQueue{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	hs := s.HTTP()
	go func() { _ = hs.Serve(l) }()
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("http://whatever.example/healthz")
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v, %v", resp, err)
	}
	resp.Body.Close()
	if err := hs.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestStaleSocketGivesWayAndNothingElseDoes(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	old, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	old.Close()
	l, err := Listen("unix://" + stale)
	if err != nil {
		t.Fatalf("a socket that nobody listens at: %v", err)
	}
	defer l.Close()

	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, dir} {
		if _, err := Listen("unix://" + path); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if b, err := os.ReadFile(file); string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
}
