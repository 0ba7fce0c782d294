package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
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
	count  int64
	size   int64
	bad    bool // it does not check: it is skipped, and goes with the next DropKeys
}

// keysBytes is the length of a .keys file.
func keysBytes(count int64) int64 { return keysFixed + keySize*count + 4 }

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

// keysAtOnce is how many keys are read at once.
const keysAtOnce = 1024

var (
	errNoKeys  = errors.New("it does not begin as a file of keys")
	errKeysSum = errors.New("the keys do not match their checksum")
)

// decodeKeys reads a .keys file, size bytes long, of the store with this uuid, and calls each with its keys until that
// says no. Whether the file checks is known at its end: without each it is only checked.
func decodeKeys(r io.Reader, size int64, uuid [16]byte, each func(Key) bool) (keysFile, error) {
	b := make([]byte, max(keysFixed, keySize*keysAtOnce))
	head := b[:keysFixed]
	if _, err := io.ReadFull(r, head); err != nil || string(head[:8]) != keysMagic {
		return keysFile{}, cmp.Or(err, errNoKeys)
	}
	if v := binary.BigEndian.Uint32(head[8:]); v != formatVersion {
		return keysFile{}, errVersion(v)
	}
	file := keysFile{
		serial: binary.BigEndian.Uint64(head[32:]), newest: int64(binary.BigEndian.Uint64(head[40:])),
		count: int64(binary.BigEndian.Uint32(head[12:])), size: size,
	}
	if size != keysBytes(file.count) || [16]byte(head[16:]) != uuid {
		return keysFile{}, errKeysSum
	}
	sum := crc32.Checksum(head, castagnoli)
	for left := file.count; left > 0; left -= keysAtOnce {
		part := b[:keySize*min(left, keysAtOnce)]
		if _, err := io.ReadFull(r, part); err != nil {
			return keysFile{}, err
		}
		sum = crc32.Update(sum, castagnoli, part)
		if each != nil && !eachKey(part, each) {
			return file, nil
		}
	}
	if _, err := io.ReadFull(r, b[:4]); err != nil || binary.BigEndian.Uint32(b) != sum {
		return keysFile{}, cmp.Or(err, errKeysSum)
	}
	return file, nil
}

func eachKey(b []byte, each func(Key) bool) bool {
	for e := range slices.Chunk(b, keySize) {
		if !each(Key{Dedupe{[16]byte(e), [16]byte(e[16:])}, binary.BigEndian.Uint64(e[32:]), int64(binary.BigEndian.Uint64(e[40:]))}) {
			return false
		}
	}
	return true
}

// readKeys reads a .keys file. It needs no memory for it.
func (l *segmentLog) readKeys(path string, each func(Key) bool) (keysFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return keysFile{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return keysFile{}, err
	}
	file, err := decodeKeys(f, fi.Size(), l.uuid, each)
	file.path, file.size = path, fi.Size()
	if v, ok := errors.AsType[errVersion](err); ok {
		return file, &FormatError{Path: path, Found: uint32(v), Know: formatVersion}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it is cut short")
	}
	if err != nil { // also where the disk does not answer
		return file, &DamageError{Path: path, Offset: -1, What: err.Error()}
	}
	return file, nil
}

// findKeys looks through the .keys files at open. They are a cache: one that is damaged is made again from its segment;
// without a segment it is skipped.
func (l *segmentLog) findKeys() error {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(l.dir, e.Name())
		if !e.Type().IsRegular() || !strings.HasSuffix(path, ".keys") {
			continue
		}
		file, err := l.readKeys(path, nil)
		file.bad = isDamage(err) || l.givesUp(err)
		if err != nil && !file.bad {
			return err
		}
		if i := slices.IndexFunc(l.segs, func(g *segment) bool { return g.keysPath() == path }); i >= 0 {
			l.segs[i].keysFile = !file.bad && i < len(l.segs)-1
			if file.bad {
				l.badKeys = append(l.badKeys, path)
			}
			continue
		}
		l.oldKeys = append(l.oldKeys, file)
	}
	return nil
}

// SkippedKeys returns how many files of idempotency keys are damaged, with their segments gone: what they knew is
// forgotten. They go with the next DropKeys.
func (s *Store) SkippedKeys() int {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	n := 0
	for _, k := range s.log.oldKeys {
		if k.bad {
			n++
		}
	}
	return n
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
		if !k.bad {
			out = append(out, keySource{serial: k.serial, path: k.path})
		}
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
	more := true
	each := func(k Key) bool {
		more = more && yield(k)
		return more
	}
	for _, s := range l.keySources() {
		if s.path != "" {
			_, _ = l.readKeys(s.path, each) // it was checked when the store was opened
		} else {
			_ = l.keysIn(s.seg, each)
		}
		if !more {
			return
		}
	}
}

// keysIn calls each with the keys of a segment, from its items, until that says no.
func (l *segmentLog) keysIn(g *segment, each func(Key) bool) error {
	next := func(_ *view, off int64) int64 { return off }
	all := func(*blockHeader, *blockReader) bool { return true }
	return l.eachItem(g, readBytes, next, all, func(it *Item) bool {
		return it.Dedupe == nil || each(Key{*it.Dedupe, it.Seq, it.Time})
	})
}

// writeKeys makes a segment's .keys durable, if it has keys and there is no such file yet.
func (l *segmentLog) writeKeys(v view) error {
	l.keysMu.Lock()
	defer l.keysMu.Unlock()
	if v = l.view(v.seg); v.keys == 0 || v.keysFile || v.seg.gone.Load() {
		return nil
	}
	keys, newest := make([]Key, 0, v.keys), int64(0)
	err := l.keysIn(v.seg, func(k Key) bool {
		keys, newest = append(keys, k), max(newest, k.Time)
		return true
	})
	if err != nil {
		return fmt.Errorf("collect keys: %w", err)
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
	return l.ops.syncDir(l.names)
}

// DropKeys removes the .keys files whose segment is gone and which nobody needs: their newest key is of before that
// time, in ms since 1970, or there are keep newer keys, or they do not check.
func (s *Store) DropKeys(before int64, keep int) error { return s.log.dropKeys(before, keep) }

func (l *segmentLog) dropKeys(before int64, keep int) error {
	var errs []error
	for _, k := range l.needlessKeys(before, int64(keep)) {
		if err := l.ops.remove(k.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		l.mu.Lock()
		l.oldKeys = slices.DeleteFunc(slices.Clone(l.oldKeys), func(o keysFile) bool { return o.path == k.path })
		l.mu.Unlock()
	}
	return errors.Join(errs...)
}

// needlessKeys lists what dropKeys removes.
func (l *segmentLog) needlessKeys(before, keep int64) []keysFile {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.Clone(l.oldKeys)
	for _, g := range l.segs {
		all = append(all, keysFile{serial: g.serial, count: g.keys})
	}
	slices.SortFunc(all, func(a, b keysFile) int { return cmp.Compare(b.serial, a.serial) })
	var drop []keysFile
	newer := int64(0)
	for _, k := range all {
		if k.path != "" && (k.bad || k.newest < before || newer >= keep) {
			drop = append(drop, k)
		}
		newer += k.count
	}
	return drop
}
