package store

import (
	"encoding/binary"
	"errors"
	"slices"
)

// queuesFormat is the version of queues.db that this program reads and writes.
const queuesFormat uint32 = 1

var (
	bucketMeta   = []byte("meta")
	bucketSinks  = []byte("sinks")
	bucketQueues = []byte("queues")
	bucketBodies = []byte("bodies")
	bucketAcks   = []byte("acks")

	keyFormat = []byte("format")
	keyStore  = []byte("store")
	keyState  = []byte("state")
	keyHoles  = []byte("holes")  // optional
	keyDamage = []byte("damage") // optional
	keyWall   = []byte("wall")   // optional

	keyRecount = []byte("recount") // optional, without a value
)

func appendFormat(b []byte) []byte { return binary.BigEndian.AppendUint32(b, queuesFormat) }

// metaState is the record meta/state, written with every commit that changes it:
//
//	u8 clean | u64 highest seq | u64 synced: every seq below was durable | i64 id time | i64 queue time |
//	u32 queue number given | u64 sinks | u64 bodies | u64 acks: how many entries those buckets hold
type metaState struct {
	Clean               bool
	Highest, Synced     uint64
	IDTime, QueueTime   int64
	Given               uint32
	Sinks, Bodies, Acks uint64
}

func (m metaState) append(b []byte) []byte {
	var clean byte
	if m.Clean {
		clean = 1
	}
	b = append(b, clean)
	for _, v := range []uint64{m.Highest, m.Synced, uint64(m.IDTime), uint64(m.QueueTime)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = binary.BigEndian.AppendUint32(b, m.Given)
	for _, v := range []uint64{m.Sinks, m.Bodies, m.Acks} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

func decodeMetaState(payload []byte) (metaState, error) {
	d := fields{b: payload}
	m := metaState{Clean: d.byte() != 0, Highest: d.uint64(), Synced: d.uint64()}
	m.IDTime, m.QueueTime = int64(d.uint64()), int64(d.uint64())
	m.Given = d.uint32()
	m.Sinks, m.Bodies, m.Acks = d.uint64(), d.uint64(), d.uint64()
	return m, d.done()
}

// A sink's record is sinks/<name>:
//
//	u8 state | uvarint n | n × ( u32 number | u8 flags: 1 live, 2 has a match | [uvarint length, match] | u64 from | u64 end )
func appendSink(b []byte, s *Sink) []byte {
	b = append(b, byte(s.State))
	b = binary.AppendUvarint(b, uint64(len(s.Queues)))
	for _, q := range s.Queues {
		b = binary.BigEndian.AppendUint32(b, q.Number)
		var flags byte
		if q.Live {
			flags |= 1
		}
		if q.Match != nil {
			flags |= 2
		}
		b = append(b, flags)
		if q.Match != nil {
			b = append(binary.AppendUvarint(b, uint64(len(q.Match))), q.Match...)
		}
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, q.From), q.End)
	}
	return b
}

func decodeSink(name, payload []byte) (Sink, error) {
	d := fields{b: payload}
	s := Sink{Name: string(name), State: SinkState(d.byte())}
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		q := SinkQueue{Number: d.uint32()}
		flags := d.byte()
		q.Live = flags&1 != 0
		if flags&2 != 0 {
			q.Match = append([]byte{}, d.bytes()...)
		}
		q.From, q.End = d.uint64(), d.uint64()
		s.Queues = append(s.Queues, q)
	}
	if s.State < Active || s.State > Removed {
		return s, errors.New("no such state of a sink")
	}
	return s, d.done()
}

// cloneSinks copies what a caller could change.
func cloneSinks(sinks []Sink) []Sink {
	out := slices.Clone(sinks)
	for i := range out {
		out[i].Queues = slices.Clone(out[i].Queues)
		for j, q := range out[i].Queues {
			out[i].Queues[j].Match = slices.Clone(q.Match)
		}
	}
	return out
}
