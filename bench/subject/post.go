package subject

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strconv"

	"holdfast/bench/harness"
)

// A postConn is a producer of POST /v1/items on one connection: of one item, or of n lines.
type postConn struct {
	conn net.Conn
	in   *bufio.Reader
	head []byte
	body []byte
	out  []byte
}

func dialPost(addr string, n int) (harness.Client, error) {
	body, contentType := harness.NewBody(), "application/octet-stream"
	if n > 1 {
		body, contentType = append(body, '\n'), "application/x-ndjson"
	}
	head := fmt.Sprintf("POST /v1/items HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", addr, contentType, n*len(body))
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &postConn{c, bufio.NewReaderSize(c, 64<<10), []byte(head), body, nil}, nil
}

func (c *postConn) Put(_ context.Context, seq, n int) error {
	c.out = append(c.out[:0], c.head...)
	for i := range n {
		harness.SetSeq(c.body, seq+i)
		c.out = append(c.out, c.body...)
	}
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	status, length, err := readHead(c.in)
	if err != nil {
		return fmt.Errorf("POST /v1/items: %w", err)
	}
	if status != http.StatusAccepted {
		text, _ := io.ReadAll(io.LimitReader(c.in, int64(length)))
		return fmt.Errorf("POST /v1/items: %d %s", status, text)
	}
	_, err = c.in.Discard(length)
	return err
}

func (c *postConn) Close() error { return c.conn.Close() }

// readHead reads the head of an answer that gives its length.
func readHead(r *bufio.Reader) (status, length int, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, 0, err
	}
	if len(line) < len("HTTP/1.1 202") {
		return 0, 0, fmt.Errorf("no answer of HTTP: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, err
	}
	length = -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, 0, err
		}
		line = textproto.TrimBytes(line)
		if len(line) == 0 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); len(name) == 14 && bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(textproto.TrimBytes(value))); err != nil {
				return 0, 0, err
			}
		}
	}
	if length < 0 {
		return 0, 0, errors.New("an answer without its length")
	}
	return status, length, nil
}
