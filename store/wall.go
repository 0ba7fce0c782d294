package store

import "encoding/binary"

// A wallPair is queue time and what the wall clock said at that moment, in ms. It tells a machine that was off from a wall
// clock that was set while the process ran.
type wallPair struct{ queue, wall int64 }

// at is the wall clock's time at a moment of queue time; 0 where the pair is of another: an older program, which does not
// keep it, has committed since.
func (p wallPair) at(queue int64) int64 {
	if p.queue != queue {
		return 0
	}
	return p.wall
}

// putWall writes meta/wall: i64 queue time, i64 wall time. Where nobody looked at the wall clock there is no such key.
func (t *transaction) putWall(meta *entries) error {
	if t.wall.wall == 0 {
		_, err := meta.delete(keyWall)
		return err
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(t.wall.queue))
	return meta.put(keyWall, binary.BigEndian.AppendUint64(b, uint64(t.wall.wall)))
}

func decodeWall(payload []byte) (wallPair, error) {
	d := fields{b: payload}
	p := wallPair{int64(d.uint64()), int64(d.uint64())}
	return p, d.done()
}
