package main

import (
	"os"

	"golang.org/x/sys/unix"

	"holdfast/cmd/holdfast/internal/config"
)

// ownFiles is how many file descriptors the service keeps for itself, beside those for its sinks: segments and what is
// made of them, queues.db and its copy, standard streams, and the runtime.
const ownFiles = 96

// connections is how many clients may be connected at once: what the process's limit leaves, and some in any case.
func connections(cfg *config.Config) int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return leastClients
	}
	own := ownFiles
	for _, s := range cfg.Sinks {
		own += 2 * s.Concurrency // one in use, and one that is being made in its place
	}
	return max(leastClients, int(min(limit.Cur, mostClients))-own)
}

// leastClients may connect whatever the limit is; more than mostClients nobody needs on one small machine.
const leastClients, mostClients = 16, 1 << 20

// writableByOthers tells whether users other than its owner may put files into a directory. Ours is made for its user
// alone; one that was there before is left as it is.
func writableByOthers(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.Mode().Perm()&0o022 != 0
}
