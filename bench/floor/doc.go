// Package floor is what a disk allows: one writer that takes all that waits, writes it, flushes it once, and answers. It
// has no queue and no sinks, and its file is preallocated, so that a flush does not have to journal a new size. Here has
// the writer behind a channel in this process, for libraries, TCP behind a socket in another one, for servers.
//
// The other process is this program again: its main must begin with
//
//	if floor.Child() {
//		return
//	}
package floor
