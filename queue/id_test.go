package queue

import (
	"bytes"
	"testing"

	"github.com/google/uuid"
)

// Guarantee A5, in part: an id is a UUIDv7 as others read it, and ids ascend by time, then by seq.
func TestIDIsAVersion7UUIDThatSaysWhereItsItemIs(t *testing.T) {
	tag := tagOf([16]byte{12: 0xff, 0xff, 0xff, 0xff})
	if tag != 1<<26-1 {
		t.Fatalf("tag %x", tag)
	}
	cases := []struct {
		ms  int64
		seq uint64
		tag uint32
	}{
		{0, 1, 0},
		{1, 1<<36 - 1, 5},
		{1, 1 << 36, 5},
		{1764072000000, 1, tag},
		{1764072000000, 2, tag},
		{1764072000001, 1<<48 - 1, tag},
		{1<<48 - 1, 1<<48 - 1, tag},
	}
	var last uuid.UUID
	for _, c := range cases {
		id := makeID(c.ms, c.seq, c.tag)
		if id.Version() != 7 || id.Variant() != uuid.RFC4122 {
			t.Errorf("%+v: %s has version %d, variant %s", c, id, id.Version(), id.Variant())
		}
		ms, seq, tag, ok := parseID(id)
		if !ok || ms != c.ms || seq != c.seq || tag != c.tag {
			t.Errorf("%+v came back as %d %d %d %t", c, ms, seq, tag, ok)
		}
		if sec, nsec := id.Time().UnixTime(); c.ms != 0 && c.ms < 1<<44 && sec*1000+nsec/1e6 != c.ms {
			t.Errorf("%+v: others read its time as %d.%09d", c, sec, nsec)
		}
		if bytes.Compare(last[:], id[:]) >= 0 {
			t.Errorf("%s does not follow %s", id, last)
		}
		last = id
	}
}

func TestIDOfAnotherFormIsToldApart(t *testing.T) {
	good := makeID(1764072000000, 7, 9)
	for _, bad := range []func(*uuid.UUID){
		func(id *uuid.UUID) { id[6] = id[6]&0x0f | 0x40 },
		func(id *uuid.UUID) { id[8] &= 0x3f },
		func(id *uuid.UUID) { id[8] |= 0xc0 },
		func(id *uuid.UUID) { *id = uuid.Nil },
		func(id *uuid.UUID) { *id = uuid.Max },
	} {
		id := good
		bad(&id)
		if _, _, _, ok := parseID(id); ok {
			t.Errorf("%s was taken for an id", id)
		}
	}
}
