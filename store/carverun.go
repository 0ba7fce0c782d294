package store

import "encoding/binary"

// How many pages a run has is told twice: by its header, and by where its entries end. bbolt makes a run no longer than
// they need. Where the two agree they are believed: one flipped bit cannot do that. Else the header is not enough: it may
// swallow every page behind it, and those are somebody's.

// refill gives back what may be read: each pass over the file has it anew.
func (c *carver) refill() { c.budget = 4 * c.size }

// overflow returns how many pages behind page id are its own. sure: its header and its entries say the same.
func (c *carver) overflow(id uint64, h pageHead, b []byte) (n uint64, sure bool) {
	said, need := min(h.overflow, c.pages-id-1), c.need(id, h, b)
	if need == h.overflow {
		return said, true
	}
	end := id + 1 + min(said, max(need, c.spanned(id, b)-id-1))
	return c.runEnd(id, end, b) - id - 1, false
}

// claim gives a page what is its own, and returns how far its entries may go. Where its header and its entries disagree
// the page is bad, but each entry that checks is one.
func (c *carver) claim(id uint64, h pageHead, b []byte) (limit int64) {
	n, sure := c.overflow(id, h, b)
	for i := id; i <= id+n; i++ {
		c.tree.linked.add(i)
	}
	if sure {
		return int64(1+n) * c.page
	}
	c.tree.bad[id] = true
	for i := id + n + 1; i <= id+h.overflow && i < c.pages; i++ {
		c.tree.doubtful.add(i)
	}
	return c.size - int64(id)*c.page
}

// need returns how many pages behind its first one a page needs for what its elements say that it has.
func (c *carver) need(id uint64, h pageHead, b []byte) uint64 {
	order, end := binary.NativeEndian, int64(boltPageHeader)
	for i := range h.count {
		at := int64(boltPageHeader + i*pageElement)
		if at+pageElement > int64(len(b)) {
			break
		}
		e := b[at : at+pageElement]
		pos, ksize, vsize := int64(order.Uint32(e)), int64(order.Uint32(e[4:])), int64(0)
		if h.flags == pageLeaf {
			pos, ksize, vsize = ksize, int64(order.Uint32(e[8:])), int64(order.Uint32(e[12:]))
			if order.Uint32(e) > 1 {
				continue
			}
		}
		last := at + pos + ksize + vsize
		if pos >= pageElement && ksize <= carveKey && vsize <= carveValue && last <= c.size-int64(id)*c.page {
			end = max(end, last)
		}
	}
	return uint64((end - 1) / c.page)
}

// spanned returns the page behind the last one in which a value of page id ends that checks. Only values outside of
// queues are as long as that.
func (c *carver) spanned(id uint64, b []byte) uint64 {
	end, off := int64(id+1)*c.page, int64(id)*c.page
	c.leafEntries(b, off, c.size-off, -1, stale, func(e entry) {
		last := e.at + int64(len(e.value))
		if last <= end {
			return
		}
		if _, err := openValue(0, e.key, e.value); err == nil {
			end = last
		}
	})
	return uint64((end + c.page - 1) / c.page)
}

// runEnd returns where a run that may go on up to a page ends: where one stands that says which it is, unless that is
// inside of a value that checks.
func (c *carver) runEnd(id, end uint64, b []byte) uint64 {
	spanned := uint64(0)
	for next := id + 1; next < end; next++ {
		if !headOf(c.read(next)).is(next) {
			continue
		}
		if spanned == 0 {
			spanned = c.spanned(id, b)
		}
		if next >= spanned {
			return next
		}
		next = spanned - 1
	}
	return end
}

// after returns the page behind a run. The inside of a value is not looked at: what a producer sent may look like a page.
func (c *carver) after(id uint64, h pageHead, b []byte) uint64 {
	next := id + 1
	switch {
	case h.is(id):
		end, need := next+min(h.overflow, c.pages-next), h.overflow
		if h.flags != pageFreelist {
			need = c.need(id, h, b)
		}
		switch rk := c.rankOf(id); {
		case need == h.overflow && rk != stale:
			return end
		case need > h.overflow:
			end = max(end, c.spanned(id, b))
		}
		return c.runEnd(id, end, b) // a run that was free may be another one by now, in part
	case c.tree.lostBody[id]: // how long it was is lost with it
		for next < c.pages && !c.tree.linked.has(next) && !headOf(c.read(next)).is(next) {
			next++
		}
	}
	return next
}
