package api

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// zstdWindow is how far a body of zstd may look back: what RFC 9659 grants to a Content-Encoding. The window lies in
// memory from a frame's head on, whatever follows.
const zstdWindow = 8 << 20

// expanderBytes is at least the memory that an expander takes, beside what it returns.
func (e encoding) expanderBytes() int64 {
	switch e {
	case zstandard:
		return zstdWindow + 1<<20
	case gzipped:
		return 64 << 10
	}
	return 0
}

// An expander undoes a body's encoding, and keeps apart what is wrong with the body and what with its coming. It reads
// nothing before the first Read. One goroutine uses it; it is to be closed.
type expander struct {
	encoding encoding
	src      source
	r        io.Reader // nil: nothing was read yet
	close    func()
}

func newExpander(e encoding, src io.Reader) *expander {
	return &expander{encoding: e, src: source{r: src}, close: func() {}}
}

// A source remembers why it ended.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && s.err == nil {
		s.err = err
	}
	return n, err
}

// Read returns what is there as soon as something is. Errors: io.EOF, the source's own, *corruptError.
func (x *expander) Read(p []byte) (int, error) {
	if x.r == nil {
		if err := x.open(); err != nil {
			return 0, x.blame(err)
		}
	}
	n, err := x.r.Read(p)
	return n, x.blame(err)
}

func (x *expander) open() error {
	if x.encoding == zstandard {
		z, err := zstd.NewReader(&x.src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return err
		}
		x.r, x.close = z, z.Close
		return nil
	}
	z, err := gzip.NewReader(bufio.NewReader(&x.src))
	if err != nil {
		return err
	}
	x.r = z
	return nil
}

// blame tells whose an error is.
func (x *expander) blame(err error) error {
	switch {
	case err == nil || err == io.EOF && x.src.err == io.EOF:
		return err
	case x.src.err != nil && x.src.err != io.EOF:
		return x.src.err
	}
	return &corruptError{x.encoding, err}
}

// Close gives back what the expander holds.
func (x *expander) Close() { x.close() }

// A corruptError says that a body is not what its Content-Encoding says.
type corruptError struct {
	encoding encoding
	err      error
}

func (e *corruptError) Error() string { return fmt.Sprintf("not %s: %v", e.encoding, e.err) }

// problem is what the producer is told.
func (e *corruptError) problem() *Problem {
	if errors.Is(e.err, zstd.ErrWindowSizeExceeded) || errors.Is(e.err, zstd.ErrDecoderSizeExceeded) {
		return located(TooLarge, 0, "Content-Encoding", fmt.Sprintf("zstd may look back %d bytes, RFC 9659", zstdWindow))
	}
	return invalid(0, "Content-Encoding", "the body is not %s, or ends early", e.encoding)
}
