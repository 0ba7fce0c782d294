package client

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// ErrLineTooLong is what ReadLine returns for a line above its limit.
var ErrLineTooLong = errors.New("line too long")

// ReadLine returns the next line without its LF, as a slice the caller owns.
// The last line needs no LF. It returns io.EOF, and no line, at the end; a
// line that another error cut off is not returned. A line above limit bytes is
// ErrLineTooLong, and memory stays near limit.
func ReadLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		whole := bytes.TrimSuffix(line, []byte("\n"))
		switch {
		case len(whole) > limit:
			return nil, ErrLineTooLong
		case err == nil:
			return whole, nil
		case err == io.EOF && len(line) > 0:
			return line, nil
		case err != bufio.ErrBufferFull:
			return nil, err
		}
	}
}
