// Package trace records what a process does to a directory, and makes from that the states in which a power cut could
// leave it.
//
// Record runs an unpatched program under strace. Parse turns what strace wrote into events: writes, sizes, names, flushes,
// and the marks that the program writes about itself to a file of its own. A Disk plays the events, and knows at each
// moment what is durable and what is not. Pending tells what is not; Image makes one state of it.
//
// # What is legal
//
// As FORMAT.md assumes of the storage: what was flushed is there. Of what was not, each sector of 512 bytes holds what it
// held after any of the writes to it, or before all of them, whatever became of the other sectors, files and directories.
// The size of a file that grew may be any that it had meanwhile, or lag behind between two of them. What was allocated and
// not written reads as zeros. A name is made, moved or removed whole, and durable with the flush of its directory; what
// was done to different names may be durable in any order, what was done to one name in its own.
//
// A flush of a file covers the writes that had returned when it was called, and counts when it returns. It says nothing
// of the file's name.
package trace

// A Kind is what an event does.
type Kind uint8

// The kinds of events.
const (
	Write   Kind = iota + 1 // Data at Off of Path
	Resize                  // Path to Size
	Extend                  // Path to at least Size, by allocated space that reads as zeros
	Sync                    // of the file or directory at Path
	Make                    // the file Path unless it is there; if it is and Size is 0, it is emptied
	MakeDir                 // the directory Path
	Rename                  // Path to To, within a directory
	Remove                  // the file Path
	Mark                    // Data, which the process wrote about itself
)

func (k Kind) String() string {
	return [...]string{"", "write", "resize", "extend", "sync", "make", "make directory", "rename", "remove", "mark"}[k]
}

// An Event is one call that succeeded, or under which the process ended. Paths are relative to the root of the trace; "."
// is the root itself.
type Event struct {
	Kind     Kind
	Path, To string
	Off      int64
	Size     int64
	Data     []byte
}

// A Step is the beginning or the end of the call that made an event. Between the two other threads did other things.
type Step struct {
	Event int // index in Events
	End   bool
}

// A Trace is what a process did, in order.
type Trace struct {
	Events []Event
	Steps  []Step
}
