package main_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport says which rooms of ours each room may import, as DESIGN draws it. Test files may also use what they test
// with: the rooms below their own.
var mayImport = map[string][]string{
	"store":      {},
	"sinks":      {},
	"queue":      {"store"},
	"recovery":   {"store"},
	"dispatcher": {"queue", "sinks"},
	"bench":      {"store", "queue", "dispatcher", "recovery", "sinks"},
	"cmd":        {"store", "queue", "dispatcher", "recovery", "sinks"},
}

// inTests are imports that only the tests of a room may add: they put the real rooms together.
var inTests = map[string][]string{
	"dispatcher": {"store", "recovery"},
	"queue":      {"recovery"},
	"recovery":   {"queue", "dispatcher", "sinks", "cmd"},
}

func TestImportsPointOneWay(t *testing.T) {
	root := filepath.Join("..", "..")
	files := 0
	err := filepath.WalkDir(root, func(file string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(file, ".go") {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		room, _, _ := strings.Cut(filepath.ToSlash(rel), "/")
		allowed, known := mayImport[room]
		if !known {
			t.Errorf("%s: %s is not a room of the house", rel, room)
		}
		if strings.HasSuffix(file, "_test.go") || strings.Contains(rel, "crashtest") {
			allowed = append(slices.Clone(allowed), inTests[room]...)
		}
		files++
		for _, imported := range importsOf(t, file) {
			checkImport(t, filepath.ToSlash(rel), room, imported, allowed)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 50 {
		t.Errorf("only %d files looked at", files)
	}
}

// checkImport knows two rules: rooms import the rooms below them, and a sink imports nothing but the contract.
func checkImport(t *testing.T, file, room, imported string, allowed []string) {
	t.Helper()
	rest, ours := strings.CutPrefix(imported, "holdfast/")
	if !ours {
		return
	}
	to, sub, _ := strings.Cut(rest, "/")
	if to != room && !slices.Contains(allowed, to) {
		t.Errorf("%s imports %s: %s may import %v", file, imported, room, allowed)
	}
	if room == "sinks" && sub != "" && path.Dir(file) != rest && !strings.HasSuffix(file, "_test.go") && !strings.HasPrefix(file, "sinks/sinktest/") {
		t.Errorf("%s imports %s: a sink knows the contract and no other sink", file, imported)
	}
}

func importsOf(t *testing.T, file string) (paths []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range f.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, p)
	}
	return paths
}
