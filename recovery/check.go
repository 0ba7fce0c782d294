package recovery

import (
	"errors"
	"fmt"
	"os"

	"holdfast/store"
)

// Check looks at everything in the data directory at path and changes nothing: see store.Check. It works on a copy of a
// directory, also from another machine, and on one that may not be written. While it looks nobody can open the store.
// What it finds a start heals, but for what is Refused. Errors: *store.LockedError, where a process has the store open;
// *store.FormatError; a *NotDirError; and those of the disk.
func Check(path string, progress func(done, total int64)) ([]store.Finding, store.Checked, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, store.Checked{}, fmt.Errorf("data directory: %w", err)
	}
	if !info.IsDir() {
		return nil, store.Checked{}, &NotDirError{path}
	}
	if found, err := unfit(path); len(found) > 0 || err != nil {
		return found, store.Checked{}, err // what it points to, or what is in it, is not looked at
	}
	release, err := store.Hold(path)
	if err != nil {
		return nil, store.Checked{}, err
	}
	found, sums, err := store.Check(path, progress)
	return found, sums, errors.Join(err, release())
}

// Salvage heals the store at path as a start does, and what readers would heal later too: it reads all of the log. Where
// the directory of the log is missing, which a start refuses, it takes it for gone. The store is closed in order
// afterwards. Where there is none, none is made. Errors: those of Open.
func Salvage(path string, o Options, progress func(done, total int64)) (Report, error) {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return Report{}, &NotDirError{path}
	}
	found, err := store.Exists(path)
	if err == nil && !found {
		err = fmt.Errorf("%s holds no store: %w", path, os.ErrNotExist)
	}
	if err != nil {
		return Report{}, err
	}
	st, r, h, err := open(path, o, true)
	if err != nil {
		return r, err
	}
	err = st.Salvage(progress)
	return h.report(), errors.Join(err, st.Close())
}
