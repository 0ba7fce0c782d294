package store

import (
	"errors"
	"fmt"
)

// Errors that a caller branches on. Everything else that Append, Commit and the housekeeping calls return as a
// *FatalError ends the process: the restart heals.
var (
	// ErrFull: nothing was stored, for want of disk, or of files that the process may open; it may work later.
	ErrFull = errors.New("the disk is full")
	// ErrNotFound: no such seq was ever given.
	ErrNotFound = errors.New("no such item")
	// ErrReleased: the item's segment is gone.
	ErrReleased = errors.New("the item is no longer kept")
	// ErrLost: the item was stored, and is damaged or missing. It is an ErrReleased too.
	ErrLost = fmt.Errorf("the item is lost: %w", ErrReleased)
)

// A FatalError is a write or a flush whose outcome is unknown, or a store that one left behind. Whatever was not
// answered before it is uncertain.
type FatalError struct {
	Op  string
	Err error
}

func (e *FatalError) Error() string { return e.Op + ": " + e.Err.Error() }
func (e *FatalError) Unwrap() error { return e.Err }

// A LockedError says that another process has the directory.
type LockedError struct {
	Path string
	PID  int // 0 where it could not be read
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s is in use by process %d", e.Path, e.PID)
}

// A FormatError says that a file is of a format that this program does not know. Nothing was touched.
type FormatError struct {
	Path        string
	Found, Know uint32
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("%s has format %d, this program knows format %d", e.Path, e.Found, e.Know)
}

// A DamageError says that bytes which were durable are not what was written.
type DamageError struct {
	Path   string
	Offset int64 // -1: not at one place
	What   string
}

func (e *DamageError) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("%s is damaged: %s", e.Path, e.What)
	}
	return fmt.Sprintf("%s is damaged at byte %d: %s", e.Path, e.Offset, e.What)
}
