package recovery

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"holdfast/store"
)

// unfit lists what stands where a store's own files belong and cannot be one: symbolic links, as what they point to may be
// anything, and directories and files that stand for each other. A start refuses them: they are somebody's.
func unfit(dir string) (found []store.Finding, err error) {
	for _, own := range []struct {
		name  string
		isDir bool
	}{{"LOCK", false}, {queuesName, false}, {logName, true}, {quarantineName, true}} {
		path := filepath.Join(dir, own.name)
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for links: %w", err)
		}
		if what := misfit(info.Mode(), own.isDir); what != "" {
			found = append(found, store.Finding{Path: path, Offset: -1, What: what, Refused: true})
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	entries, err := os.ReadDir(filepath.Join(dir, logName))
	for _, e := range entries {
		if what := misfit(e.Type(), false); what != "" && (e.Type()&fs.ModeSymlink != 0 || filepath.Ext(e.Name()) == ".log") {
			found = append(found, store.Finding{Path: filepath.Join(dir, logName, e.Name()), Offset: -1, What: what, Refused: true})
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for links: %w", err)
	}
	return found, nil
}

// misfit says what a file is that cannot be one of ours; empty: it can.
func misfit(mode fs.FileMode, isDir bool) string {
	switch {
	case mode&fs.ModeSymlink != 0:
		return "it is a symbolic link"
	case isDir && !mode.IsDir():
		return "it is no directory, as it has to be: move it away"
	case !isDir && mode.IsDir():
		return "it is a directory in the place of a file: move it away"
	case !isDir && !mode.IsRegular():
		return "it is no regular file: move it away"
	}
	return ""
}

// refuseUnfit is unfit for a start: the first is the error.
func refuseUnfit(dir string) error {
	found, err := unfit(dir)
	if err == nil && len(found) > 0 {
		err = &store.DamageError{Path: found[0].Path, Offset: -1, What: found[0].What}
	}
	return err
}

// makeLog refuses a store of which the directory of the log is gone, as no disk takes that alone: it is elsewhere, or not
// mounted. For an operator who says so it makes it anew: what it had is told as lost.
func (s *start) makeLog() error {
	path := filepath.Join(s.dir, logName)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !s.forGood {
		return &store.DamageError{Path: path, Offset: -1, What: store.WhatNoLog}
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		return fmt.Errorf("make the log: %w", err)
	}
	s.log.Error("the directory of the log was missing", "dir", path)
	return store.SyncDir(s.dir)
}

// misplacedIn returns what an error says of a segment that is not where it belongs; nil: nothing.
func misplacedIn(err error) *store.MisplacedError {
	m, _ := errors.AsType[*store.MisplacedError](err)
	return m
}

// settled tries what may find segments that are not where they belong, and brings them there. The lock is held.
func (s *start) settled(try func() error) error {
	err := try()
	for range 2 { // whole segments, and then what is none
		m := misplacedIn(err)
		if m == nil {
			break
		}
		if err = s.settle(m); err != nil {
			break
		}
		err = try()
	}
	return err
}

// settle brings segments to where they belong.
func (s *start) settle(m *store.MisplacedError) error {
	done, err := store.Settle(s.dir, m, func(path string) error { return s.kept.keep(path, false, nil, 0) })
	s.report.Renamed, s.report.Aside = append(s.report.Renamed, done.Renamed...), append(s.report.Aside, done.Aside...)
	if len(done.Aside) > 0 {
		s.report.Quarantine = s.kept.place()
	}
	if misplacedIn(err) != nil {
		return fmt.Errorf("%s and the segments are of different stores, bring together what belongs together: %w", queuesName, err)
	}
	if err != nil {
		return err
	}
	s.log.Error("segments were not where they belong", "dir", s.dir, "renamed", done.Renamed, "aside", done.Aside, "quarantine", s.report.Quarantine)
	return nil
}
