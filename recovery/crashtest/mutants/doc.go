// Package mutants is the proof of the proof: a list of small breaks of the engine, each of which some test has to notice.
// A break that nobody notices says that a promise is not tested. Nothing of it is part of the service.
//
// TestMutantsAreKilled copies the module to a scratch directory, and there breaks one thing at a time, runs the tests that
// have to see it, and puts it back. A mutant is killed when it compiles and one of its tests fails. Its controls:
// the same tests pass in the copy as it is, where one that is skipped, or that there is not, has not passed; a comment is
// not killed; and what does not compile is told apart. A mutant whose text is not found exactly once in its file fails the
// test: whoever changes the engine keeps the list.
//
//	go test ./recovery/crashtest/mutants                                   that each applies; nothing is run
//	go test ./recovery/crashtest/mutants -v -mutants ci                    those of a pull request
//	go test ./recovery/crashtest/mutants -v -mutants all -timeout 60m      all
//	go test ./recovery/crashtest/mutants -v -mutants skip-sync             one, by its name
//
// The order in which bytes reach the disk is for the tests that look at the calls, as a kill does not show it. What a machine
// lacks is skipped with a loud line, and fails where HOLDFAST_REQUIRE=strace,… names it.
package mutants
