package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// A bbolt file begins with two meta pages, at 0 and at one page size; a commit writes the one with the parity of its
// txid. In the byte order of the machine:
//
//	page: u64 id | u16 flags | u16 count | u32 overflow | then for a meta:
//	u32 magic | u32 version | u32 page size | u32 flags | u64 root page | u64 sequence | u64 freelist page |
//	u64 pages in use | u64 txid | u64 FNV-1a over the 56 bytes before it
const (
	boltMagic      = 0xED0CDAED
	boltVersion    = 2
	boltPageHeader = 16
	boltMetaBytes  = 64
	boltNoFreelist = ^uint64(0)
)

type boltMeta struct {
	pageSize                    uint32
	root, freelist, pages, txid uint64
}

// A MetaReport says what the two meta pages of a bbolt file are. After any crash of a disk that keeps its word both
// are valid, one txid apart.
type MetaReport struct {
	PageSize int       // bytes; 0: no valid page says it
	Valid    [2]bool   // by place in the file
	TxID     [2]uint64 // of the valid ones
}

// OK reports whether both pages are valid and one txid apart.
func (m MetaReport) OK() bool {
	return m.Valid[0] && m.Valid[1] && (m.TxID[0] == m.TxID[1]+1 || m.TxID[1] == m.TxID[0]+1)
}

// CheckMetas looks at the meta pages of the bbolt file at path, without changing it.
func CheckMetas(path string) (MetaReport, error) {
	f, err := os.Open(path)
	if err != nil {
		return MetaReport{}, fmt.Errorf("check meta pages: %w", err)
	}
	defer f.Close()
	report, _, err := readMetas(f)
	if err != nil {
		return report, fmt.Errorf("check meta pages: %w", err)
	}
	return report, nil
}

// RewriteMetas writes both meta pages of the bbolt file at path back with their own bytes, the older one first, each
// made durable before the next. After a failed flush the page cache may show what the disk does not have: this makes
// the disk have it (DESIGN, section 7). A page that is not valid is written back as it is, first.
func RewriteMetas(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("rewrite meta pages: %w", err)
	}
	if err := errors.Join(rewriteMetas(f), f.Close()); err != nil {
		return fmt.Errorf("rewrite meta pages: %w", err)
	}
	return nil
}

func rewriteMetas(f *os.File) error {
	report, _, err := readMetas(f)
	if err != nil {
		return err
	}
	if report.PageSize == 0 {
		return errors.New("neither is valid")
	}
	order := [2]int{0, 1}
	if report.Valid[0] && (!report.Valid[1] || report.TxID[0] > report.TxID[1]) {
		order = [2]int{1, 0}
	}
	page := make([]byte, report.PageSize)
	for _, i := range order {
		off := int64(i) * int64(report.PageSize)
		if _, err := f.ReadAt(page, off); err != nil {
			return err
		}
		if _, err := f.WriteAt(page, off); err != nil {
			return err
		}
		if err := fdatasync(f); err != nil {
			return err
		}
	}
	return nil
}

// readMetas decodes both meta pages. The second one stands at one page size: the first page tells it, and where that
// one is damaged, the powers of two from 1 KiB to 16 MiB are tried.
func readMetas(r io.ReaderAt) (MetaReport, [2]boltMeta, error) {
	var report MetaReport
	var metas [2]boltMeta
	first, err := metaAt(r, 0)
	if err != nil {
		return report, metas, err
	}
	sizes := []uint32{}
	if first != nil {
		report.Valid[0], report.TxID[0], metas[0] = true, first.txid, *first
		report.PageSize = int(first.pageSize)
		sizes = append(sizes, first.pageSize)
	} else {
		for s := uint32(1 << 10); s <= 16<<20; s <<= 1 {
			sizes = append(sizes, s)
		}
	}
	for _, size := range sizes {
		second, err := metaAt(r, int64(size))
		if err != nil {
			return report, metas, err
		}
		if second != nil && second.pageSize == size {
			report.Valid[1], report.TxID[1], metas[1] = true, second.txid, *second
			report.PageSize = int(size)
			break
		}
	}
	return report, metas, nil
}

// metaAt returns the meta page at off, nil where there is no valid one.
func metaAt(r io.ReaderAt, off int64) (*boltMeta, error) {
	b := make([]byte, boltPageHeader+boltMetaBytes)
	n, err := r.ReadAt(b, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n < len(b) {
		return nil, nil
	}
	return decodeBoltMeta(b[boltPageHeader:]), nil
}

func decodeBoltMeta(b []byte) *boltMeta {
	h := fnv.New64a()
	_, _ = h.Write(b[:56])
	order := binary.NativeEndian
	m := &boltMeta{
		pageSize: order.Uint32(b[8:]), root: order.Uint64(b[16:]), freelist: order.Uint64(b[32:]),
		pages: order.Uint64(b[40:]), txid: order.Uint64(b[48:]),
	}
	size := m.pageSize
	switch {
	case order.Uint32(b) != boltMagic, order.Uint32(b[4:]) != boltVersion, order.Uint64(b[56:]) != h.Sum64():
		return nil
	case size < 1<<10, size > 16<<20, size&(size-1) != 0:
		return nil
	}
	return m
}
