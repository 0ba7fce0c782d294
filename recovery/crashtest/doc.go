// Package crashtest is the proof that the service keeps its word when it is killed, stopped, refused a flush or left
// without disk, memory or file descriptors, and whatever clients, destinations and clocks do. Most of it runs the real
// binary as a child process, with real producers over HTTP and receivers that keep books of their own. Nothing of it is
// part of the service.
//
// killer controls the process, book judges what producers were told and receivers got. The suites that count cases carry
// controls that must fail, and print that they did: a green suite whose control is green too is a broken suite.
//
// A kill says nothing about flushes: what was written stays in the page cache. What a power cut leaves is for the suites
// on a disk of package powerfs, which also fails, hangs, lies and gets full; with ext4 on a loop device on it, too. Of what
// the store itself does to a directory package trace makes the states that a power cut may leave, and each is started.
// Package mutants breaks the engine, and sees that the tests notice.
//
//	go test ./recovery/crashtest -kills 100     kills in the main test; 25 by default
//	go test ./recovery/crashtest -long 20       as many times the cases that a change must pass; by default a tenth
//	go test ./recovery/crashtest -seed 7        the times and the failures of another run
//
// What a machine lacks is skipped with a loud line, and fails where HOLDFAST_REQUIRE=strace,tmpfs,fuse,loop,… names it.
package crashtest

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Require skips a test because the machine lacks something, by its name in HOLDFAST_REQUIRE; there it fails instead.
// lacks is why it cannot be had; nil: it is there.
func Require(t testing.TB, name string, lacks error) {
	t.Helper()
	switch {
	case lacks == nil:
	case Required(os.Getenv("HOLDFAST_REQUIRE"), name):
		t.Fatalf("HOLDFAST_REQUIRE asks for %s: %v", name, lacks)
	default:
		t.Skipf("SKIPPED, NOT PROVEN HERE: no %s: %v", name, lacks)
	}
}

// Required reports whether a list as HOLDFAST_REQUIRE has it names something.
func Required(list, name string) bool {
	return slices.ContainsFunc(strings.Split(list, ","), func(s string) bool { return strings.TrimSpace(s) == name })
}
