// Package ndjson takes items that come one a line: it cuts a stream into lines without copying them, and reads the JSON
// in a line without changing a byte of it.
//
// A line's bytes without its LF are the item. Lines that are empty, or only a CR, are skipped and still counted, so that
// a number names the line that an editor shows. What a Reader or Unquote returns may share memory with what it was read
// from; nothing here writes to such memory again.
package ndjson

import (
	"bytes"
	"fmt"
	"io"
)

const (
	firstChunk = 4 << 10  // of a reader that has seen nothing yet: two thousand idle ones are cheap
	chunk      = 64 << 10 // of a reader whose source fills what it is given
)

// A TooLongError says that a line is longer than the reader's limit. Nothing of the line was returned, and the reader
// cannot go on.
type TooLongError struct {
	Line  int // the first is 1
	Limit int // bytes, without the LF
}

func (e *TooLongError) Error() string {
	return fmt.Sprintf("line %d is longer than %d bytes", e.Line, e.Limit)
}

// A Reader cuts a stream into lines. One goroutine uses it.
type Reader struct {
	src   io.Reader
	limit int
	buf   []byte // the chunk that is being filled; lines that were returned point into it
	start int    // of the line that is being looked for
	seen  int    // up to here there is no LF
	end   int    // of what was read
	size  int    // of the next chunk
	line  int
	err   error // the source's last word

	// Settled returns a line up to which the lines that were returned are used no more, so that their memory may be. nil:
	// each stays valid for ever.
	Settled func() int
	spare   []byte // a chunk that was filled before this one; nil: none
	last    int    // the last line in it
}

// NewReader returns a reader of the lines of src that are no longer than limit bytes.
func NewReader(src io.Reader, limit int) *Reader {
	return &Reader{src: src, limit: limit, size: firstChunk}
}

// Line returns the number of the line that Next returned last, the first is 1.
func (r *Reader) Line() int { return r.line }

// Begun reports whether something of the line after that one was read.
func (r *Reader) Begun() bool { return r.start < r.end }

// Next returns the next line that is not empty, without its LF. It stays valid for ever, or until it is settled, and is
// the caller's. At the end of the source the error is io.EOF, and what follows the last LF is a line too; after any other
// error of the source it is not, because it may be the half of one. Errors: io.EOF, *TooLongError, the source's own.
func (r *Reader) Next() ([]byte, error) {
	for {
		line, err := r.cut()
		if err != nil {
			return nil, err
		}
		if len(line) > 1 || len(line) == 1 && line[0] != '\r' {
			return line, nil
		}
	}
}

func (r *Reader) cut() ([]byte, error) {
	for {
		if i := bytes.IndexByte(r.buf[r.seen:r.end], '\n'); i >= 0 {
			return r.take(r.seen+i, r.seen+i+1)
		}
		r.seen = r.end
		switch {
		case r.end-r.start > r.limit:
			return r.take(r.end, r.end)
		case r.err == io.EOF && r.start < r.end:
			return r.take(r.end, r.end)
		case r.err != nil:
			return nil, r.err
		}
		r.fill()
	}
}

func (r *Reader) take(end, next int) ([]byte, error) {
	r.line++
	line := r.buf[r.start:end:end]
	r.start, r.seen = next, next
	if len(line) > r.limit {
		r.err = &TooLongError{Line: r.line, Limit: r.limit}
		r.start, r.seen = r.end, r.end
		return nil, r.err
	}
	return line, nil
}

// fill reads once. A chunk with little room left is given up to the lines that point into it, so that those stay as
// they are.
func (r *Reader) fill() {
	if free := len(r.buf) - r.end; free == 0 || free < len(r.buf)/4 {
		held := r.buf[r.start:r.end]
		r.buf = r.another(max(r.size, 2*len(held)))
		r.end = copy(r.buf, held)
		r.start, r.seen = 0, r.end
	}
	for range 100 {
		n, err := r.src.Read(r.buf[r.end:])
		if r.end += n; r.end == len(r.buf) {
			r.size = min(2*r.size, chunk)
		}
		if r.err = err; n > 0 || err != nil {
			return
		}
	}
	r.err = io.ErrNoProgress
}

// another returns a chunk in place of the one that is being filled: the one before that, if it is large enough and its
// lines are settled. A producer that waits for its answers needs no third one: without, they were a quarter of what a
// service with 64 of them allocated.
func (r *Reader) another(size int) []byte {
	b := r.spare
	if len(b) < size || r.Settled() < r.last {
		b = make([]byte, size)
	}
	if r.spare = nil; r.Settled != nil && len(r.buf) <= chunk/4 { // a large one is not pinned by who may never come back
		r.spare, r.last = r.buf, r.line
	}
	return b
}
