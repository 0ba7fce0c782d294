package stdin

import (
	"context"
	"io"
)

// A pump reads an input whose reads cannot be ended, so that its own can: they end with ctx.
type pump struct {
	ctx    context.Context
	chunks chan chunk // not buffered: when one is taken, the one before has been used up
	rest   []byte     // of the chunk that was taken last
	err    error      // that came with it
}

type chunk struct {
	data []byte
	err  error
}

func newPump(ctx context.Context) *pump { return &pump{ctx: ctx, chunks: make(chan chunk)} }

// run reads src until an error or until done is closed. Two buffers are enough: one is being read, the other used.
func (p *pump) run(src io.Reader, done <-chan struct{}) {
	for buf, other := make([]byte, 64<<10), make([]byte, 64<<10); ; buf, other = other, buf {
		n, err := src.Read(buf)
		select {
		case p.chunks <- chunk{buf[:n], err}:
		case <-done:
			return
		}
		if err != nil {
			return
		}
	}
}

// Read returns what the input has. When ctx has ended it returns what was read already, then ctx's error.
func (p *pump) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		select {
		case c := <-p.chunks:
			p.rest, p.err = c.data, c.err
		case <-p.ctx.Done():
			p.err = p.ctx.Err()
			select {
			case c := <-p.chunks:
				p.rest = c.data
			default:
			}
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
