package main_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What a program does not link, nobody can reach: no profiler, no plugins, no C. (The metrics library links expvar, whose
// route is in the default mux: that is served nowhere.)
func TestProgramLinksNothingThatLooksInside(t *testing.T) {
	c := exec.Command("go", "list", "-deps", ".")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	for _, p := range []string{"net/http/pprof", "plugin", "runtime/cgo"} {
		if slices.Contains(deps, p) {
			t.Errorf("the program links %s", p)
		}
	}
	if !slices.Contains(deps, "net/http") {
		t.Errorf("%d packages, and net/http is not one of them", len(deps))
	}
}

// The page about security has a row for each line of the checklist, and the tests that it names exist.
func TestSecurityPageNamesTestsThatExist(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "explanation", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	known := testNames(t)
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(string(page), -1)
	for _, m := range named {
		if !known[m[1]] {
			t.Errorf("the page names %s, which does not exist", m[1])
		}
	}
	if len(named) < 30 {
		t.Errorf("the page names %d tests", len(named))
	}
}

// testNames are those of the whole tree.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{}
	err := filepath.WalkDir(filepath.Join("..", ".."), func(file string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				known[fn.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return known
}
