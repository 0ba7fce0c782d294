package store

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzRecords decodes what a bucket of queues.db may hold. What a decoder takes it also writes, and reads the same again.
func FuzzRecords(f *testing.F) {
	f.Add(byte(0), appendRow(nil, 7, &Row{Seq: 9, State: RowRetry, Owes: true, Attempts: 3, Bytes: 10, First: 1, Last: 2, Next: 3, KeyHash: 4, FirstError: "a", LastError: "b"}))
	f.Add(byte(0), appendRow(nil, 7, &Row{Seq: 9, State: RowDead, Permanent: true, FirstError: "a", LastError: "a"}))
	f.Add(byte(1), encodeCounts(Counts{Settled: Tally{1, 2}, Requeued: Tally{3, 4}, Dead: Tally{5, 6}}, 7))
	f.Add(byte(2), encodeGone(Gone{First: 3, Last: 9, Reason: 2}))
	f.Add(byte(3), appendSink(nil, &Sink{Name: "a", State: Active, Queues: []SinkQueue{{Number: 2, Live: true}, {Number: 3, Match: []byte("m"), From: 1, End: 2}}}))
	f.Add(byte(4), make([]byte, 61))
	f.Add(byte(5), []byte{0xff, 0xff, 1, 2})
	_, sets := encodeMarks([]uint64{1, 2, 4095, 4096})
	f.Add(byte(6), sets[0])
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		bounded(t, b, func(b []byte) {
			switch kind % 7 {
			case 0:
				again(t, b, func(b []byte) (Row, error) { return decodeRow(7, 9, b) }, func(r Row) []byte { return appendRow(nil, 7, &r) })
			case 1:
				c, entries, err := decodeCounts(b)
				if got, n, _ := decodeCounts(encodeCounts(c, entries)); err == nil && (got != c || n != entries) {
					t.Fatalf("%+v, %+v", c, got)
				}
			case 2:
				again(t, b, func(b []byte) (Gone, error) { return decodeGone(3, b) }, encodeGone)
			case 3:
				again(t, b, func(b []byte) (Sink, error) { return decodeSink([]byte("a"), b) }, func(s Sink) []byte { return appendSink(nil, &s) })
			case 4:
				_, _ = decodeMetaState(b)
			case 5:
				_, _ = decodeBody(1, b)
				_, _ = decodeHoles(b)
			default:
				for _, seq := range appendMarks(nil, math.MaxUint64/chunkSeqs, 0, b[:min(len(b), chunkSeqs/8)]) {
					if seq/chunkSeqs != math.MaxUint64/chunkSeqs {
						t.Fatalf("seq %d is of another chunk", seq)
					}
				}
			}
		})
	})
}

// again decodes, encodes and decodes.
func again[T any](t *testing.T, b []byte, decode func([]byte) (T, error), encode func(T) []byte) {
	t.Helper()
	first, err := decode(b)
	if err != nil {
		return
	}
	second, err := decode(encode(first))
	if diff := cmp.Diff(first, second); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
}
