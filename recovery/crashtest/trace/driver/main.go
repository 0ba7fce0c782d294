// Command driver is the process that is recorded: see package script.
//
//	driver play MARKS SEED DIR     a new store in DIR, and everything that changes it
//	driver open MARKS DIR…         a start of each
package main

import (
	"fmt"
	"os"
	"strconv"

	"holdfast/recovery/crashtest/trace/script"
)

func main() {
	if err := drive(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// drive returns with the stores open: they are left as a kill would leave them.
func drive(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("usage: driver play MARKS SEED DIR, or driver open MARKS DIR…")
	}
	marks, err := os.OpenFile(args[1], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if args[0] == "open" {
		return script.OpenAll(args[2:], marks)
	}
	seed, err := strconv.ParseUint(args[2], 10, 64)
	if err != nil || len(args) < 4 {
		return fmt.Errorf("seed %q: %w", args[2], err)
	}
	return script.Play(args[3], marks, seed)
}
