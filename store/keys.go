package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	keysMagic = "holdkeys"
	keysFixed = 48
	keySize   = 48
)

// A Key is an idempotency key as it is known on disk, with the item that it was accepted for.
type Key struct {
	Dedupe
	Seq  uint64
	Time int64 // ms since 1970, the item's
}

// A keysFile is a .keys whose segment may be gone.
type keysFile struct {
	path   string
	serial uint64
	newest int64
}

// encodeKeys writes a .keys file.
//
//	 0  magic "holdkeys"
//	 8  u32  version of the format
//	12  u32  count
//	16  16   uuid of the store
//	32  u64  serial of the segment
//	40  i64  time of the newest key
//	48  per key: 16 hash of the key, 16 hash of the body, u64 seq, i64 time
//	-4  u32  CRC-32C of everything before it
func encodeKeys(uuid [16]byte, serial uint64, newest int64, keys []Key) []byte {
	b := make([]byte, 0, keysFixed+keySize*len(keys)+4)
	b = append(b, keysMagic...)
	b = binary.BigEndian.AppendUint32(b, formatVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(len(keys)))
	b = append(b, uuid[:]...)
	b = binary.BigEndian.AppendUint64(b, serial)
	b = binary.BigEndian.AppendUint64(b, uint64(newest))
	for _, k := range keys {
		b = append(append(b, k.Key[:]...), k.Body[:]...)
		b = binary.BigEndian.AppendUint64(b, k.Seq)
		b = binary.BigEndian.AppendUint64(b, uint64(k.Time))
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeKeys reads a .keys file of the store with this uuid.
func decodeKeys(b []byte, uuid [16]byte) (serial uint64, newest int64, keys []Key, err error) {
	if len(b) < keysFixed+4 || string(b[:8]) != keysMagic {
		return 0, 0, nil, errors.New("it does not begin as a file of keys")
	}
	if v := binary.BigEndian.Uint32(b[8:]); v != formatVersion {
		return 0, 0, nil, errVersion(v)
	}
	body := b[:len(b)-4]
	count := binary.BigEndian.Uint32(b[12:])
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(body):]) ||
		int64(len(body)) != keysFixed+keySize*int64(count) || [16]byte(b[16:]) != uuid {
		return 0, 0, nil, errors.New("the keys do not match their checksum")
	}
	keys = make([]Key, count)
	for i := range keys {
		e := body[keysFixed+keySize*i:]
		keys[i] = Key{Dedupe{[16]byte(e), [16]byte(e[16:])}, binary.BigEndian.Uint64(e[32:]), int64(binary.BigEndian.Uint64(e[40:]))}
	}
	return binary.BigEndian.Uint64(b[32:]), int64(binary.BigEndian.Uint64(b[40:])), keys, nil
}

func (l *segmentLog) readKeys(path string) (keysFile, []Key, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return keysFile{}, nil, err
	}
	serial, newest, keys, err := decodeKeys(b, l.uuid)
	if v, ok := errors.AsType[errVersion](err); ok {
		return keysFile{}, nil, &FormatError{Path: path, Found: uint32(v), Know: formatVersion}
	}
	if err != nil {
		return keysFile{}, nil, &DamageError{Path: path, Offset: -1, What: err.Error()}
	}
	return keysFile{path, serial, newest}, keys, nil
}

// findKeys looks through the .keys files at open. One that is damaged is made again from its segment; without a
// segment it is refused.
func (l *segmentLog) findKeys() error {
	paths, err := filepath.Glob(filepath.Join(globEscape(l.dir), "*.keys"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		i := slices.IndexFunc(l.segs, func(g *segment) bool { return g.keysPath() == path })
		file, _, err := l.readKeys(path)
		if _, damaged := errors.AsType[*DamageError](err); damaged && i >= 0 {
			continue
		}
		if err != nil {
			return err
		}
		if i >= 0 {
			l.segs[i].keysFile = i < len(l.segs)-1
		} else {
			l.oldKeys = append(l.oldKeys, file)
		}
	}
	return nil
}

// globEscape makes a directory's own characters mean themselves in a pattern.
func globEscape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// A keySource is where the keys of one segment are.
type keySource struct {
	serial uint64
	path   string   // of .keys; empty: read the segment
	seg    *segment // nil: gone
}

func (l *segmentLog) keySources() []keySource {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []keySource
	for _, k := range l.oldKeys {
		out = append(out, keySource{serial: k.serial, path: k.path})
	}
	for _, g := range l.segs {
		s := keySource{serial: g.serial, seg: g}
		if g.keysFile {
			s.path = g.keysPath()
		}
		if g.keys > 0 {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b keySource) int { return cmp.Compare(a.serial, b.serial) })
	return out
}

// Keys yields every idempotency key that the disk knows, oldest first; ask when the store has been opened and the tail
// rewritten. Damage in a segment ends that segment's keys; the feeds will report it.
func (s *Store) Keys() iter.Seq[Key] { return s.log.allKeys }

func (l *segmentLog) allKeys(yield func(Key) bool) {
	for _, s := range l.keySources() {
		var keys []Key
		if s.path != "" {
			_, keys, _ = l.readKeys(s.path)
		} else {
			keys, _ = l.keysIn(s.seg)
		}
		for _, k := range keys {
			if !yield(k) {
				return
			}
		}
	}
}

// keysIn collects the keys of a segment from its items.
func (l *segmentLog) keysIn(g *segment) ([]Key, error) {
	f, err := g.open()
	if err != nil {
		return nil, err
	}
	v := l.view(g)
	keys := make([]Key, 0, v.keys)
	r := newBlockReader(g, f, v.size, readBytes)
	for off := g.start; off < v.size; {
		h, err := r.block(off)
		if err != nil {
			return keys, readError(g, off, err)
		}
		items, bad, err := r.itemsOf(&h, off)
		if err != nil {
			return keys, readError(g, bad, err)
		}
		for i := range items {
			if d := items[i].Dedupe; d != nil {
				keys = append(keys, Key{*d, items[i].Seq, items[i].Time})
			}
		}
		off += int64(h.size())
	}
	return keys, nil
}

// writeKeys makes a segment's .keys durable, if it has keys and there is no such file yet.
func (l *segmentLog) writeKeys(v view) error {
	if v.keys == 0 || v.keysFile {
		return nil
	}
	keys, err := l.keysIn(v.seg)
	if err != nil {
		return fmt.Errorf("collect keys: %w", err)
	}
	newest := int64(0)
	for _, k := range keys {
		newest = max(newest, k.Time)
	}
	if err := l.replaceFile(v.seg.keysPath(), encodeKeys(l.uuid, v.seg.serial, newest, keys)); err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	l.mu.Lock()
	v.seg.keysFile = true
	l.mu.Unlock()
	return nil
}

// replaceFile writes a file under another name, makes it durable and gives it its name.
func (l *segmentLog) replaceFile(path string, b []byte) error {
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = l.pwrite(f, b, 0)
	if err == nil {
		err = l.ops.fdatasync(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path+".tmp"))
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return l.ops.syncDir(l.dir)
}

// DropKeys removes the .keys files whose segment is gone and whose newest key is of before that time, in ms since 1970.
func (s *Store) DropKeys(before int64) error { return s.log.dropKeys(before) }

func (l *segmentLog) dropKeys(before int64) error {
	l.mu.Lock()
	drop := slices.Clone(l.oldKeys)
	l.mu.Unlock()
	drop = slices.DeleteFunc(drop, func(k keysFile) bool { return k.newest >= before })
	var errs []error
	for _, k := range drop {
		if err := l.ops.remove(k.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		l.mu.Lock()
		l.oldKeys = slices.DeleteFunc(slices.Clone(l.oldKeys), func(o keysFile) bool { return o.serial == k.serial })
		l.mu.Unlock()
	}
	return errors.Join(errs...)
}
