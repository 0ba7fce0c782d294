// Package store is bytes: an append-only log that holds every item once, and a bbolt file that holds what each queue is
// still owed. FORMAT.md is the authority on what is on disk.
//
// It has no policy, no clock and no goroutine, and does not log.
//
// # Durability
//
// When Append returns nil its items are durable: one write and one fdatasync. When Commit returns nil its Change is, as
// a whole. Memory changes only after that. A flush that failed leaves both sides uncertain: the call returns a
// *FatalError, and so does every later one, until the store is opened anew; package recovery makes that safe. A disk
// without room is no such failure: ErrFull says that nothing was stored, and later calls may succeed.
//
// # Concurrency
//
// One goroutine calls Append and Rotate, one Commit, Release and Compact, one Prepare and Seal; any number read. All of
// them may do so at once, and no reader waits for a writer's disk.
//
// # Decisions
//
// 2026-11-25: payload goes to a log and not to bbolt. bbolt commits with two flushes and rewrites a path of pages, right
// for small state that changes in many places: beside a bbolt file per segment the log accepted 1.5 times as much from
// one producer and wrote an eighth of the bytes.
//
// 2026-11-25: a mark commit replaces a queue's marks from the cursor on, and leaves what did not change alone. What is
// settled above the cursor is seldom more than the window, so a complete set is small, and it cannot drift.
//
// 2026-11-25: a segment counts, per queue, the items that its masks name; less the marks, that bounds what it owes, without
// reading it. Counts can be wrong where marks are of other items, so before a segment goes by them its blocks are read once.
//
// 2026-11-25: items are compressed in pieces of 64 KiB that know nothing of items, with the table of pieces in the block's
// header. So a piece that is lost is zeros in the middle of the items, and salvage goes on as it does without compression.
package store
