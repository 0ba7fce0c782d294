// Package powerfs is a disk that can lose its power. It is a file system in memory that knows, for every sector of
// 512 bytes, for every size and for every name, what is durable and what was only written. A Disk is mounted with FUSE
// (Mount), or stands under a loop device with a real file system on it.
//
// # What is durable
//
// Data and the size of a file: after fsync or fdatasync of it. Names (made, renamed, linked, removed): after fsync of
// their directory, and not by an fsync of the file. Everything else may be on the disk or not after a Cut:
//
//   - each sector that was not synced is there with the probability p, or holds what it held before: writes are torn at
//     512 bytes and come in any order. Some are written back early, so that an older version may be there too.
//   - a size may lag behind the data; what lies between is zeros. Space that was allocated and not written is zeros.
//   - names, and files made shorter, are there up to some moment, as a journal has them; in every second Cut each by
//     itself with the probability p, where it does not depend on one that is not there. A rename is whole or not at all.
//
// A failed sync is that of Linux: what was dirty is clean, still to be read, and about half of it is on the disk. The
// next sync succeeds and writes none of it.
//
// # Faults
//
// A Fault meets the n-th call of a kind, once or for good: it fails, hangs, lies, or has the test do something before
// or after it: end the process, or the power. Limit makes the disk small.
//
// # How the power goes
//
//	d.Freeze()          // no call returns any more, whatever was answered has happened
//	process.Kill…       // send the signal; who waits for the disk cannot die yet
//	d.Cut(seed, p)      // what waits goes on, on a disk that is thrown away
//	…                   // reap the process, unmount what stands on a file of it
//	d.On()
//
// A process that maps files of a Disk must not be the one that serves it: they may wait for each other for ever. Nor may
// that one start a process in a directory of the Disk (exec.Cmd.Dir): between fork and exec its runtime stands still.
package powerfs
