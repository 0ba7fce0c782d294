package api

import (
	"context"
	"sync"
	"time"
)

// A pool is the memory for the bodies of all requests. Safe for concurrent use.
type pool struct {
	mu    sync.Mutex
	free  int64         // guarded by mu
	freed chan struct{} // guarded by mu; closed when there is more; nil: nobody waits
}

// take takes n bytes, as soon as they are free. It reports whether it has them, not if ctx ended first.
func (p *pool) take(ctx context.Context, n int64) bool {
	for {
		p.mu.Lock()
		if n <= p.free {
			p.free -= n
			p.mu.Unlock()
			return true
		}
		if p.freed == nil {
			p.freed = make(chan struct{})
		}
		freed := p.freed
		p.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return false
		}
	}
}

func (p *pool) give(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free += n
	if p.freed != nil {
		close(p.freed)
		p.freed = nil
	}
}

// A share is what one request has of the pool. One goroutine uses it.
type share struct {
	pool *pool
	ctx  context.Context // of the request
	wait time.Duration   // for each piece
	held int64
}

// take takes n bytes more. Errors: a *Problem, if they were not free in time.
func (h *share) take(n int64) error {
	ctx := &bounded{Context: h.ctx, limit: h.wait}
	defer ctx.end()
	if !h.pool.take(ctx, n) {
		return &Problem{Code: Busy, Detail: "too many bodies are being read at once; nothing was stored"}
	}
	h.held += n
	return nil
}

func (h *share) give(n int64) {
	h.held -= n
	h.pool.give(n)
}

// release gives all back. It may be called more than once.
func (h *share) release() {
	if h.held > 0 {
		h.give(h.held)
	}
}
