package mutants_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/recovery/crashtest"
)

// A verdict is what became of a mutant.
type verdict int

const (
	alive verdict = iota
	killed
	broken // it does not compile: that says nothing
	skipped
)

// A scratch is a copy of the module, in which one mutant at a time lives.
type scratch struct {
	dir   string
	skips []string // tests that this machine lacks something for
}

func newScratch(t *testing.T) *scratch {
	t.Helper()
	c := &scratch{dir: t.TempDir()}
	if err := filepath.WalkDir(root, c.copy); err != nil {
		t.Fatal(err)
	}
	return c
}

// copy takes over what go test needs of the module: its sources, and what its tests read.
func (c *scratch) copy(path string, e fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(root, path)
	if err != nil {
		return err
	}
	if e.IsDir() {
		if rel != "." && strings.HasPrefix(e.Name(), ".") {
			return fs.SkipDir
		}
		return os.MkdirAll(filepath.Join(c.dir, rel), 0o700)
	}
	source := filepath.Ext(path) == ".go" || rel == "go.mod" || rel == "go.sum"
	if !e.Type().IsRegular() || !source && !strings.Contains(filepath.ToSlash(rel), "/testdata/") {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, rel), text, 0o600)
}

// control runs the tests of the mutants in the copy as it is: each has to be there, and to pass. It notes those that this
// machine lacks something for.
func (c *scratch) control(t *testing.T, mutants []mutant) {
	byPackage, needs := map[string][]string{}, map[string]string{}
	for _, m := range mutants {
		for test := range strings.SplitSeq(m.tests, "|") {
			if needs[test] = m.needs; !slices.Contains(byPackage[m.pkg], test) {
				byPackage[m.pkg] = append(byPackage[m.pkg], test)
			}
		}
	}
	for pkg, tests := range byPackage {
		began := time.Now()
		out, err := c.test(t, pkg, strings.Join(tests, "|"))
		if err != nil {
			t.Errorf("%s: %v\n%s", pkg, err, out)
		}
		passed, skips := results(out, "PASS"), results(out, "SKIP")
		for _, test := range tests {
			switch {
			case slices.Contains(passed, test):
			case slices.Contains(skips, test) && needs[test] != "":
				c.skips = append(c.skips, test)
			default:
				t.Errorf("%s: %s has not passed: it failed, was skipped, or is not there any more", pkg, test)
			}
		}
		t.Logf("control: %d tests of %s pass, %.1f s", len(passed), pkg, time.Since(began).Seconds())
	}
}

// lacks says why this machine cannot try a mutant; nil: it can.
func (c *scratch) lacks(m *mutant) error {
	for test := range strings.SplitSeq(m.tests, "|") {
		if slices.Contains(c.skips, test) {
			return fmt.Errorf("%s is skipped", test)
		}
	}
	return nil
}

// blind judges a change that breaks nothing and one that does not compile: neither may pass for a mutant that is killed.
func (c *scratch) blind(t *testing.T, m mutant) {
	crashtest.Require(t, m.needs, c.lacks(&m))
	m.new = m.old + "/* nothing */"
	if j := c.judge(t, &m); j.verdict != alive {
		t.Errorf("a comment in %s: killed by %s\n%s", m.file, j.by, j.out)
	}
	m.new = m.old + "}"
	if j := c.judge(t, &m); j.verdict != broken {
		t.Errorf("a brace too many in %s: it is not seen that it does not compile\n%s", m.file, j.out)
	}
	t.Logf("control: a change that breaks nothing is alive, one that does not compile is told apart")
}

// A judgement is what the tests said of a mutant.
type judgement struct {
	verdict verdict
	by      string // the tests that failed
	took    time.Duration
	out     string
}

// kill expects that a mutant is killed.
func (c *scratch) kill(t *testing.T, m *mutant) verdict {
	crashtest.Require(t, m.needs, c.lacks(m))
	j := c.judge(t, m)
	switch j.verdict {
	case killed:
		t.Logf("%s: killed by %s, %.1f s", m.name, j.by, j.took.Seconds())
	case broken:
		t.Errorf("%s does not compile:\n%s", m.name, j.out)
	default:
		t.Errorf("%s is alive: %s of %s see nothing, %.1f s\nagain: go test ./recovery/crashtest/mutants -v -mutants %s\n%s",
			m.name, m.tests, m.pkg, j.took.Seconds(), m.name, j.out)
	}
	return j.verdict
}

// judge breaks one thing, runs the tests that have to see it, and puts it back.
func (c *scratch) judge(t *testing.T, m *mutant) judgement {
	t.Helper()
	restore := c.apply(t, m)
	defer restore()
	began := time.Now()
	out, err := c.test(t, m.pkg, m.tests)
	j := judgement{took: time.Since(began), by: strings.Join(results(out, "FAIL"), ", "), out: out}
	switch {
	case j.by != "" || err == nil:
	case strings.Contains(out, "panic: test timed out"):
		j.by = "its time"
	case strings.Contains(out, "panic: "):
		j.by = "a panic"
	}
	switch {
	case strings.Contains(out, "[build failed]"), strings.Contains(out, "[setup failed]"):
		j.verdict = broken
	case err != nil && j.by != "":
		j.verdict = killed
	}
	return j
}

// apply writes the mutant into the copy. What it returns puts back what was there.
func (c *scratch) apply(t *testing.T, m *mutant) (restore func()) {
	t.Helper()
	path := filepath.Join(c.dir, filepath.FromSlash(m.file))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Replace(string(text), m.old, m.new, 1))
	return func() { write(string(text)) }
}

// test runs some tests of a package of the copy. Paths are trimmed, so that what did not change is compiled once for all
// copies there will be.
func (c *scratch) test(t *testing.T, pkg, tests string) (out string, err error) {
	cmd := exec.CommandContext(t.Context(), "go", "test", pkg, "-run", "^("+tests+")$", "-count=1", "-timeout=120s", "-vet=off", "-v")
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -trimpath"))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it ends the test that it runs, too
	cmd.WaitDelay = 10 * time.Second
	b, err := cmd.CombinedOutput()
	return string(b), err
}

var result = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\S+)`)

// results lists the tests that went so.
func results(out, how string) (tests []string) {
	for _, m := range result.FindAllStringSubmatch(out, -1) {
		if m[1] == how && !slices.Contains(tests, m[2]) {
			tests = append(tests, m[2])
		}
	}
	return tests
}
