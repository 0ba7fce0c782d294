package main

import (
	"testing"

	"go.uber.org/goleak"
)

// What waits for a second signal waits until the process ends.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("holdfast/cmd/holdfast.exitOnSecondSignal"))
}
