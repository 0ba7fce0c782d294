package main_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	namesGuarantees = regexp.MustCompile(`Guarantees? ([A-Z][0-9]*(?:(?:, | and )[A-Z][0-9]*)*)`)
	guaranteeID     = regexp.MustCompile(`[A-Z][0-9]*`)
	guaranteeRow    = regexp.MustCompile(`(?m)^\| \*\*([A-Z][0-9]*)\*\* \| .+ \| (.*) \|$`)
	testName        = regexp.MustCompile("`(\\w+)`")
)

// The page that lists what holds, and by which tests, says what the tests say of themselves: every test that names a
// guarantee stands in its row, every name in a row is such a test, and no row is without one.
func TestEveryGuaranteeIsListedWithItsTests(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", "guarantees.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string][]string{}
	for _, row := range guaranteeRow.FindAllStringSubmatch(string(page), -1) {
		listed[row[1]] = []string{}
		for _, name := range testName.FindAllStringSubmatch(row[2], -1) {
			listed[row[1]] = append(listed[row[1]], name[1])
		}
	}
	shown := testsByGuarantee(t)
	for id, tests := range shown {
		for _, name := range tests {
			if !slices.Contains(listed[id], name) {
				t.Errorf("%s names %s, and does not stand in its row", name, id)
			}
		}
	}
	for id, tests := range listed {
		if len(tests) == 0 {
			t.Errorf("%s has no test", id)
		}
		for _, name := range tests {
			if !slices.Contains(shown[id], name) {
				t.Errorf("the row of %s has %s, which does not name it", id, name)
			}
		}
	}
	if len(listed) < 40 {
		t.Errorf("only %d guarantees are listed", len(listed))
	}
}

// testsByGuarantee reads the comments above the tests of the whole tree.
func testsByGuarantee(t *testing.T) map[string][]string {
	t.Helper()
	shown := map[string][]string{}
	err := filepath.WalkDir(filepath.Join("..", ".."), func(file string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Doc == nil || !strings.HasPrefix(fn.Name.Name, "Test") {
				continue
			}
			for _, m := range namesGuarantees.FindAllStringSubmatch(fn.Doc.Text(), -1) {
				for _, id := range guaranteeID.FindAllString(m[1], -1) {
					shown[id] = append(shown[id], fn.Name.Name)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return shown
}
