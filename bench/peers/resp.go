package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// A respConn is a connection to redis, as lean as our own clients are: commands are gathered and sent in one write, and
// answers are walked where they were read.
type respConn struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
}

func dialRESP(addr string) (*respConn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &respConn{conn: c, in: bufio.NewReaderSize(c, 256<<10)}, nil
}

// command adds one to what is sent next.
func (c *respConn) command(args ...string) {
	c.head('*', len(args))
	for _, a := range args {
		c.head('$', len(a))
		c.out = append(append(c.out, a...), "\r\n"...)
	}
}

// add is command for a last argument of bytes.
func (c *respConn) add(last []byte, args ...string) {
	c.head('*', len(args)+1)
	for _, a := range args {
		c.head('$', len(a))
		c.out = append(append(c.out, a...), "\r\n"...)
	}
	c.head('$', len(last))
	c.out = append(append(c.out, last...), "\r\n"...)
}

func (c *respConn) head(kind byte, n int) {
	c.out = append(strconv.AppendInt(append(c.out, kind), int64(n), 10), "\r\n"...)
}

// send writes the commands that were gathered.
func (c *respConn) send() error {
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

// walk reads one answer, and shows each string in it with how deep it lies in lists. A string is only good until visit
// returns. An answer that is an error is one.
func (c *respConn) walk(depth int, visit func(depth int, s []byte)) error {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	line = bytes.TrimSuffix(line, []byte("\r\n"))
	if len(line) == 0 {
		return errors.New("redis: an empty line")
	}
	switch line[0] {
	case '+', ':':
		visit(depth, line[1:])
		return nil
	case '-':
		return fmt.Errorf("redis: %s", line[1:])
	}
	n, err := strconv.Atoi(string(line[1:]))
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	switch line[0] {
	case '$':
		return c.bulk(depth, n, visit)
	case '*':
		for range n { // none for -1, which is nothing
			if err := c.walk(depth+1, visit); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("redis: an answer of the kind %q", line[0])
}

func (c *respConn) bulk(depth, n int, visit func(depth int, s []byte)) error {
	if n < 0 {
		return nil
	}
	s, err := c.in.Peek(n + 2)
	if err != nil {
		return err
	}
	visit(depth, s[:n])
	_, err = c.in.Discard(n + 2)
	return err
}

// ask sends what was gathered, and reads that many answers that do not matter unless they are errors.
func (c *respConn) ask(answers int) error {
	if err := c.send(); err != nil {
		return err
	}
	for range answers {
		if err := c.walk(0, func(int, []byte) {}); err != nil {
			return err
		}
	}
	return nil
}
