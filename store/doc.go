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
// One goroutine calls Append, one Commit and Release, one Prepare and Seal; any number read. All of them may do so at
// once, and no reader waits for a writer's disk.
//
// # Decisions
//
// 2026-11-25: payload goes to a log and not to bbolt. bbolt commits with two flushes and rewrites a path of pages, right
// for small state that changes in many places: beside a bbolt file per segment the log accepted 1.5 times as much from
// one producer and wrote an eighth of the bytes.
//
// 2026-11-25: a mark commit replaces a queue's marks from the cursor on, and leaves what did not change alone. What is
// settled above the cursor is seldom more than the window, so a complete set is small, and it cannot drift.
package store
