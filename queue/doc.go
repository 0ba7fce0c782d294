// Package queue is holdfast's policy: it accepts items, hands them to each sink's lane, turns outcomes into durable
// marks, and joins the acks. Bytes are package store's; concurrency towards the sinks is package dispatcher's.
//
// # Life
//
// Open reads where every queue stands, and starts nothing. Run owns the three goroutines that there are: the committer,
// which alone appends to the log; the marker, which alone commits to queues.db; and the keeper, which makes the next
// segment and seals the last. When Run's context ends they stop in that order, with all that was settled marked.
//
// # Durability
//
// A put is answered after one write and one fdatasync of the log, and memory changes only after that. What a lane
// settles is marked lazily: a crash repeats at most what was not marked, with the same ids, and loses nothing. A waiting
// producer is answered after the commit that holds the last mark of its item.
//
// # Errors
//
// There are four kinds. The caller's: InvalidError, TooLargeError, MismatchError, ErrNotFound, ErrReleased, ErrNoSink.
// Not stored, safe to repeat: FullError, ErrStopping. Uncertain, repeat with the same idempotency key: ErrUncertain.
// Fatal: Run returns a *store.FatalError, and only a restart heals.
//
// # Concurrency
//
// Everything is safe for concurrent use, but for Feed.Next, which one goroutine at a time calls. Each queue has a lock of
// its own, which neither the committer nor another lane waits for; the bounds of sinks share one, held for a few
// additions.
//
// # Decisions
//
// 2026-11-25: an item that no queue owes is stored without its body. It costs a few bytes, and its id, its key and its
// state survive a restart like any other's.
//
// 2026-11-25: a delivery with a failed attempt becomes a row, with strict order too. The cursor may then pass it, its
// budget survives a crash, and the feed, not the lane, holds what is behind it.
//
// 2026-11-25: damage that is met while a queue's log is read is dealt with under the lock of that queue: who waits for the
// lock waits for one look through the segment and two commits, once for each damaged segment. The places that read under it
// (the feed, the marker, an eviction, a status) are in the middle of a step, and not all of them could come back to it.
//
// 2026-11-26: a group waits for the producers that were just answered, and not for a time, and only where the process has as
// much to do meanwhile: company.go. A fixed delay keeps those waiting who come on a schedule. When they come back, how many
// are there in the end, and how many come a second do not tell the two loads apart: with 64 producers all of that looks alike
// at half of the rate, or drowns in the noise of a machine that is shared. A wait of at most half a write, which was there
// first, was too short for producers over sockets. What else the process does, as a long drain, hides that it would be idle:
// producers on a schedule may wait beside that, for as long as so many take to come alone, and 5 ms at most.
// Encoding a group while the one before is flushed was built and measured, and was no gain: on two cores the flush waits for
// a processor as long as it saves.
//
// 2026-11-25: the wall clock's time is stored with queue time. A step of it in an idle store, which is worth a commit, is
// seen within an hour; a kill before that counts it as time off. The age of an idempotency key is that of its item's id, so
// that a step forward within a life makes the keys before it that much older at the next start.
package queue
