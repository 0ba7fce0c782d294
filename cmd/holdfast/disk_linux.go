package main

import (
	"fmt"

	"holdfast/cmd/holdfast/internal/cli"
)

// networked are the file systems whose flushes and locks are not what a queue needs, by their magic numbers (statfs(2)).
var networked = map[uint32]string{0x6969: "NFS", 0x517b: "SMB", 0xfe534d42: "SMB", 0xff534d42: "CIFS"}

// checkFilesystem refuses a data directory on a network file system.
func checkFilesystem(dir string) error {
	fs, ok := statfs(dir)
	if name := networked[uint32(fs.Type)]; ok && name != "" {
		return &cli.ExitError{Code: cli.ExitConfig, Err: fmt.Errorf("data.dir: %s is on %s: a local file system is needed", dir, name)}
	}
	return nil
}
