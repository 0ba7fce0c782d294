package store

import "fmt"

// Salvage reads every segment now, and deals with what is damaged of them as readers would when they come to it.
// progress, if not nil, is told how many bytes of how many were read. Where damage is refused the first is returned.
func (s *Store) Salvage(progress func(done, total int64)) error {
	var done, total int64
	views := s.log.views()
	for _, v := range views {
		total += v.size
	}
	for _, v := range views {
		if v.found == nil { // else all of it was looked at
			if err := s.log.readAll(v); err != nil && !v.seg.gone.Load() {
				return fmt.Errorf("salvage: %w", err)
			}
		}
		if done += v.size; progress != nil {
			progress(done, total)
		}
	}
	return nil
}

// readAll reads the blocks of a segment up to the first that is damaged, which it has mended.
func (l *segmentLog) readAll(v view) error {
	f, err := v.seg.open()
	if err != nil {
		return err
	}
	r := newBlockReader(v.seg, f, v.size, readBytes)
	for off := v.seg.start; off < v.size; {
		h, err := r.block(off)
		if err == nil {
			_, _, err = r.itemsOf(&h, off)
		}
		if err = readError(v.seg, off, err); isDamage(err) {
			return l.mend(&v, err)
		}
		if err != nil {
			return err
		}
		off += int64(h.size())
	}
	return nil
}
