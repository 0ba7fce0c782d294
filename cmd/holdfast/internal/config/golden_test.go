package config_test

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"holdfast/cmd/holdfast/internal/config"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// hunter2 is every literal secret of the test files; gateToken and signingKey come through references.
const (
	hunter2    = "hunter2"
	gateToken  = "s3cr3t-of-the-gate"
	signingKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

// testEnv is a world with a few variables and files.
func testEnv() config.Env {
	vars := map[string]string{
		"PORT": "9090", "EMPTY": "", "CRM_TOKEN": gateToken, "CRM_SECRET": signingKey, "CREDENTIALS_DIRECTORY": "/creds",
	}
	files := fstest.MapFS{
		"run/secret":   {Data: []byte(signingKey + "\n"), Mode: 0o600},
		"creds/github": {Data: []byte(gateToken + "\r\n"), Mode: 0o400},
		"creds/open":   {Data: []byte(gateToken), Mode: 0o644},
		"writable":     {Data: []byte(gateToken), Mode: 0o602},
		"big":          {Data: make([]byte, 64<<10+1), Mode: 0o600},
		"folder/file":  {},
		"etc/key.pem":  {Mode: 0o644},

		"etc/closed.pem":   {Mode: 0o600},
		"etc/writable.pem": {Mode: 0o666},
	}
	return config.Env{
		LookupEnv: func(name string) (string, bool) { v, ok := vars[name]; return v, ok },
		Open:      func(name string) (fs.File, error) { return files.Open(strings.TrimPrefix(name, "/")) },
	}
}

// Each file of testdata gives exactly the text of its golden file: what is wrong, or else the warnings.
func TestEveryProblemIsNamedWithItsPlaceAndWhatWasMeant(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no test files", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			compareGolden(t, strings.TrimSuffix(file, ".yaml")+".golden", outcome(t, src))
		})
	}
}

func outcome(t *testing.T, src []byte) string {
	t.Helper()
	cfg, err := config.Parse("holdfast.yaml", src, testEnv())
	if err == nil {
		return strings.Join(append(cfg.Warnings, "ok"), "\n") + "\n"
	}
	e, ok := errors.AsType[*config.Error](err)
	if !ok || cfg != nil {
		t.Fatalf("got %v, %T; want nil and an *Error", cfg, err)
	}
	checkPositions(t, src, e)
	return err.Error() + "\n"
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}
