package store

import (
	"errors"
	"fmt"
	"os"
	"slices"
)

// HealKeys makes those .keys again that are damaged or missing and whose segment is there; one that has no key any more is
// removed. No error of it is fatal. It may be called beside Release.
func (s *Store) HealKeys() error {
	var errs []error
	for _, v := range s.log.views() {
		if v.last || !v.sealed {
			continue
		}
		if err := s.log.writeKeys(v); err != nil {
			errs = append(errs, fmt.Errorf("heal the keys of %s: %w", v.seg.path, err))
		}
	}
	return errors.Join(append(errs, s.log.removeBadKeys())...)
}

// removeBadKeys removes the .keys that did not check and have no successor, as their segments have no keys.
func (l *segmentLog) removeBadKeys() error {
	l.keysMu.Lock()
	defer l.keysMu.Unlock()
	var errs []error
	l.badKeys = slices.DeleteFunc(l.badKeys, func(path string) bool {
		i := slices.IndexFunc(l.views(), func(v view) bool { return v.seg.keysPath() == path && v.keys == 0 })
		if i < 0 {
			return true // it is made again, or was, or it went with its segment
		}
		err := l.ops.remove(path)
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		errs = append(errs, err)
		return err == nil
	})
	return errors.Join(errs...)
}

// ForgetKeys takes the keys of the items that lost says are lost out of the .keys, durably: what is known of their loss goes
// with their segment, and the .keys stay. A file that cannot be written is left as it is, and told.
func (s *Store) ForgetKeys(lost func(seq uint64) bool) error {
	var errs []error
	for _, k := range s.log.keySources() {
		if k.path == "" {
			continue // what is lost cannot be read out of a segment
		}
		if err := s.log.forgetKeys(k, lost); err != nil {
			errs = append(errs, fmt.Errorf("forget the keys of lost items: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (l *segmentLog) forgetKeys(k keySource, lost func(seq uint64) bool) error {
	l.keysMu.Lock()
	defer l.keysMu.Unlock()
	var keep []Key
	gone := 0
	file, err := l.readKeys(k.path, func(key Key) bool {
		if lost(key.Seq) {
			gone++
		} else {
			keep = append(keep, key)
		}
		return true
	})
	if err != nil || gone == 0 {
		return err
	}
	return l.replaceFile(k.path, encodeKeys(l.uuid, file.serial, file.newest, keep))
}
