package mutants_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var which = flag.String("mutants", "", "which are run: ci, all, or one by its name; empty: none, it is only seen that they apply")

// A mutant is one break of the engine.
type mutant struct {
	name     string
	file     string // of the module
	old, new string // old stands in it exactly once
	pkg      string // whose tests have to see it
	tests    string // their names, with | between them
	ci       bool   // also in a pull request
	needs    string // what the tests do not run without, as HOLDFAST_REQUIRE names it; empty: nothing
}

// root is the module, as the tests of this package see it.
const root = "../../.."

// The tests of the engine see what they are there to see: each mutant is killed by one of them.
func TestMutantsAreKilled(t *testing.T) {
	checkList(t)
	chosen := choose(t)
	if len(chosen) == 0 {
		return
	}
	c := newScratch(t)
	if !t.Run("control", func(t *testing.T) { c.control(t, chosen); c.blind(t, chosen[0]) }) {
		t.Fatal("the tests do not pass without a break, or one is seen where there is none: nothing follows from the others")
	}
	count := map[verdict]int{}
	for _, m := range chosen {
		v := skipped
		t.Run(m.name, func(t *testing.T) { v = c.kill(t, &m) })
		count[v]++
	}
	t.Logf("| mutants | %d | killed %d | skipped %d | alive %d |", len(chosen), count[killed], count[skipped], count[alive]+count[broken])
}

// checkList sees that the list is kept: every mutant applies, names are used once, and there are as many as were promised.
func checkList(t *testing.T) {
	t.Helper()
	names, ci := map[string]bool{}, 0
	for i := range list {
		m := &list[i]
		if names[m.name] || strings.Trim(m.name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			t.Errorf("%s: a name is of lower case letters, and used once", m.name)
		}
		names[m.name] = true
		if m.ci {
			ci++
		}
		text, err := os.ReadFile(filepath.Join(root, m.file))
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		if n := strings.Count(string(text), m.old); n != 1 || m.old == m.new {
			t.Errorf("%s: %s has %d places for it, and not one: keep the list when you change the engine\n%s", m.name, m.file, n, m.old)
		}
	}
	if len(list) < 30 || ci != 12 {
		t.Errorf("%d mutants, %d of them in a pull request; at least 30 and 12 were promised", len(list), ci)
	}
}

// choose returns the mutants that the flag names.
func choose(t *testing.T) (chosen []mutant) {
	t.Helper()
	for _, m := range list {
		if *which == "all" || *which == m.name || *which == "ci" && m.ci {
			chosen = append(chosen, m)
		}
	}
	if *which != "" && len(chosen) == 0 {
		t.Fatalf("there is no mutant %q", *which)
	}
	return chosen
}
