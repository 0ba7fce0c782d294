package store

import (
	"bytes"
	"encoding/binary"
	"math"

	bolt "go.etcd.io/bbolt"
)

// Expired returns up to limit dead letters whose expiry is at or before now, in ms of queue time, the earliest first. It
// looks at no others. ErrNotFound: no sink has the queue.
func (s *Store) Expired(queue uint32, now int64, limit int) ([]Row, error) {
	return s.queues.expired(queue, now, limit)
}

// NextExpiry returns when the next dead letter of a queue expires, in ms of queue time, and whether one ever does.
func (s *Store) NextExpiry(queue uint32) (int64, bool, error) { return s.queues.nextExpiry(queue) }

func (q *queues) expired(number uint32, now int64, limit int) ([]Row, error) {
	var rows []Row
	for from := []byte{kindExpiry}; from != nil && len(rows) < limit; {
		err := q.view(func(tx *bolt.Tx) error {
			e, err := q.queueBucket(tx, number)
			if err != nil {
				return err
			}
			end := len(rows) + min(limit-len(rows), readMost)
			c := e.b.Cursor()
			k, _ := c.Seek(from)
			for from = nil; expires(k, now); k, _ = c.Next() {
				if len(rows) == end {
					from = bytes.Clone(k)
					return nil
				}
				r, err := (&queueTx{e: e}).indexed(keySeq(k))
				if err != nil {
					return err
				}
				rows = append(rows, r)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// expires reports whether a key is that of a dead letter which has expired by now.
func expires(key []byte, now int64) bool {
	if len(key) == 0 || key[0] != kindExpiry {
		return false
	}
	t := keyTime(key)
	return t <= now && t != math.MaxInt64
}

// keyTime returns the time of a key of an index by time: see sortable.
func keyTime(key []byte) int64 { return int64(binary.BigEndian.Uint64(key[1:]) ^ 1<<63) }

func (q *queues) nextExpiry(number uint32) (t int64, found bool, err error) {
	err = q.view(func(tx *bolt.Tx) error {
		e, err := q.queueBucket(tx, number)
		if err != nil {
			return err
		}
		if k, _ := e.b.Cursor().Seek([]byte{kindExpiry}); expires(k, math.MaxInt64) {
			t, found = keyTime(k), true
		}
		return nil
	})
	return t, found, err
}
