package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// rotate gives the file its number and leaves the path free. A crash in it leaves either name, and all lines.
func (s *Sink) rotate() error {
	if err := s.shut(); err != nil {
		return err
	}
	old, err := rotated(s.o.Path)
	if err != nil {
		return err
	}
	serial := uint64(1)
	if len(old) > 0 {
		serial = old[len(old)-1] + 1
	}
	if err := os.Rename(s.o.Path, numbered(s.o.Path, serial)); err != nil {
		return err
	}
	if s.o.Fsync != None {
		if err := s.syncDir(); err != nil {
			return err
		}
	}
	return s.prune(append(old, serial))
}

// prune removes the oldest, given the numbers of all in order.
func (s *Sink) prune(serials []uint64) error {
	if s.o.Keep == 0 {
		return nil
	}
	for _, serial := range serials[:max(0, len(serials)-s.o.Keep)] {
		if err := os.Remove(numbered(s.o.Path, serial)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func numbered(path string, serial uint64) string { return fmt.Sprintf("%s.%06d", path, serial) }

// rotated returns the numbers of the rotated files of path, in order. A name that numbered would not give is not ours.
func rotated(path string) ([]uint64, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var serials []uint64
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+".")
		if !ok {
			continue
		}
		serial, err := strconv.ParseUint(digits, 10, 63)
		if err == nil && numbered(filepath.Base(path), serial) == e.Name() {
			serials = append(serials, serial)
		}
	}
	slices.Sort(serials)
	return serials, nil
}
