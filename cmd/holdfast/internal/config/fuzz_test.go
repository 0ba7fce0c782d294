package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"holdfast/cmd/holdfast/internal/config"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzParse holds what every text must give: a configuration with a place to keep items, or problems inside the file.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		cfg, err := config.Parse("f", src, testEnv())
		if err == nil {
			checkUsable(t, cfg)
			return
		}
		e, ok := errors.AsType[*config.Error](err)
		if !ok || cfg != nil {
			t.Fatalf("got %v, %T; want nil and an *Error", cfg, err)
		}
		checkPositions(t, src, e)
		for _, secret := range []string{gateToken, signingKey} {
			if strings.Contains(err.Error(), secret) && !strings.Contains(string(src), secret) {
				t.Errorf("a secret is in %v", err)
			}
		}
	})
}

func checkUsable(t *testing.T, cfg *config.Config) {
	t.Helper()
	if cfg.Data.Dir == "" || cfg.Server.MayListen(cfg.Server.Listen, false) != nil || cfg.Data.MarkEvery < 1 {
		t.Errorf("unusable: %+v", cfg)
	}
	for _, s := range cfg.Sinks {
		if s.Type == "" || s.Concurrency < 1 || (s.Webhook != nil) != (s.Type == config.WebhookSink) ||
			(s.File != nil) != (s.Type == config.FileSink) || s.Delivery.Timeout <= 0 ||
			(s.Exec != nil) != (s.Type == config.ExecSink) || s.Delivery.Retry.Backoff > s.Delivery.Retry.MaxBackoff ||
			(s.Delivery.RateLimit.PerSecond > 0) != (s.Delivery.RateLimit.Burst > 0) || s.Dead.MaxBytes < 1 {
			t.Errorf("unusable sink: %+v", s)
		}
		again, err := config.ParseMatch(s.Delivery.Match.String())
		if diff := cmp.Diff(s.Delivery.Match, again, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("a match is not what it was (%v):\n%s", err, diff)
		}
	}
}

// checkPositions holds that each problem is inside the file, that they are sorted, and that an excerpt is two clean lines.
func checkPositions(t *testing.T, src []byte, e *config.Error) {
	t.Helper()
	lines := strings.Split(strings.TrimPrefix(string(src), "\ufeff"), "\n")
	if len(e.Problems) == 0 {
		t.Error("an error without a problem")
	}
	for _, p := range e.Problems {
		if p.Line < 1 || p.Line > len(lines) || p.Col < 1 || p.Col > utf8.RuneCountInString(lines[p.Line-1])+1 {
			t.Errorf("%d:%d is not in the file: %s", p.Line, p.Col, p.Message)
		}
		if p.Message == "" || strings.ContainsAny(p.Path+p.Message, "\n\x1b") {
			t.Errorf("message %q of path %q", p.Message, p.Path)
		}
		if strings.Count(p.Excerpt, "\n") != 1 || !utf8.ValidString(p.Excerpt) || strings.ContainsAny(p.Excerpt, "\x1b\r\t") {
			t.Errorf("excerpt %q", p.Excerpt)
		}
	}
	if !slices.IsSortedFunc(e.Problems, func(a, b config.Problem) int {
		return (a.Line-b.Line)*1e6 + a.Col - b.Col
	}) {
		t.Errorf("not sorted: %v", e)
	}
}
