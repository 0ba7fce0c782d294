package store

// SinkState is what an operator or the configuration made of a sink.
type SinkState uint8

// The states of a sink. Removed sinks keep their name's record until nothing refers to their queues.
const (
	Active SinkState = iota + 1
	Paused
	Orphan
	Removed
)

// A Sink is a destination by its configured name, with the queues that it empties, in that order; the live one is last.
type Sink struct {
	Name   string
	State  SinkState
	Queues []SinkQueue
}

// A SinkQueue ties a queue's number to a sink. A live queue takes new items; another one is frozen: a match and a range
// of seqs that were fixed when it was made.
type SinkQueue struct {
	Number    uint32
	Live      bool
	Match     []byte // frozen match, opaque to the store; nil: everything
	From, End uint64 // frozen: From ≤ seq < End
}

// A Tally counts items and the bytes of their bodies.
type Tally struct{ Items, Bytes int64 }

// Add returns the sum of two tallies.
func (t Tally) Add(o Tally) Tally { return Tally{t.Items + o.Items, t.Bytes + o.Bytes} }

// Sub returns the difference of two tallies.
func (t Tally) Sub(o Tally) Tally { return Tally{t.Items - o.Items, t.Bytes - o.Bytes} }

// Counts are a queue's totals since it was made. Dead is how much of it is dead letters now.
// waiting = accepted − Settled + Requeued, with accepted kept by the log.
type Counts struct{ Settled, Requeued, Dead Tally }

// QueueState is what a start needs of a queue: every seq below Cursor is settled, or was never for this queue; Marks
// are the settled seqs at or above it, ascending.
type QueueState struct {
	Number uint32
	Cursor uint64
	Marks  []uint64
	Counts Counts
}

// RowState says why a delivery left the stream.
type RowState uint8

// The states of a row. Only Dead is final.
const (
	RowReady   RowState = iota + 1 // to be handed out as soon as possible, in the order of seqs
	RowRetry                       // to be attempted again at Next
	RowNotDue                      // not before Next, which is wall time here
	RowBlocked                     // behind another row of its key
	RowDead                        // a dead letter; Next is when it expires, 0 for never
)

// A Row is a delivery that left the stream. It points into the log, or into bodies, by its seq.
type Row struct {
	Seq        uint64
	State      RowState
	Owes       bool   // the ack-join still waits for it: true until done or dead for the first time
	Permanent  bool   // a dead letter by a permanent error
	Attempts   uint32 // spent so far
	Bytes      int64  // of the body, so that books are kept without reading it
	First      int64  // ms since 1970: the first attempt; 0: none yet
	Last       int64  // ms since 1970: the newest attempt, for a dead letter the moment it died
	Next       int64  // ms of queue time (RowNotDue: wall time)
	KeyHash    uint64 // of the item's key; 0: none
	FirstError string
	LastError  string
}

// Reason says why deliveries were settled without one.
type Reason uint8

// The reasons.
const (
	GoneDropped Reason = iota + 1
	GoneExpired
	GoneSkipped
	GonePurged
	GoneLost
)

// Gone is a range of seqs, both ends included, that one queue settled without delivery.
type Gone struct {
	First, Last uint64
	Reason      Reason
}

// A Change is what one transaction makes durable: all of it or nothing.
type Change struct {
	QueueTime int64         // ms of queue time now; 0 leaves the stored one
	WallTime  int64         // ms since 1970 by the wall clock, read together with QueueTime; 0: nobody looked
	Sinks     []Sink        // written whole, by name; a queue number seen first here gets its bucket
	Queues    []QueueChange // at most one per number
	Bodies    []Body        // evacuated or edited
	Acks      []Ack         // those that are owed to the hook from now on; one that is there is written anew
	Acked     []uint64      // seqs whose ack is owed no longer
	Noted     uint64        // see Store.Noted: what is said of seqs from here on comes with a later change; 0: nothing is missing
}

// An Ack is one that is owed to the hook. It has all that the hook is told, so that neither a segment nor a body must stay
// for it.
type Ack struct {
	Seq  uint64
	Time int64 // of the item's id, in ms; 0: whether it is owed is to be found out
}

// A QueueChange is one queue's part of a Change. Cursor, Marks and Counts replace what was stored.
type QueueChange struct {
	Number   uint32
	Cursor   uint64
	Marks    []uint64 // all settled seqs at or above Cursor, ascending
	Counts   Counts
	Rows     []Row    // written whole, by seq
	RowsGone []uint64 // seqs whose rows go
	Gone     []Gone
}

// A Body is an item outside the log: evacuated for all queues (Queue 0), or edited for one.
type Body struct {
	Queue uint32
	Item  Item
}
