package config

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// redacted stands where a secret would be printed.
const redacted = "«redacted»"

// A Secret is a text that no output shows: every way of printing, logging or encoding it gives «redacted». The zero value
// is not set. Compare with Equal: == compares identities. A Secret is immutable.
type Secret struct {
	// A pointer, because fmt prints the fields of a Secret that sits in another package's unexported field without
	// asking for its methods: it then shows an address.
	value *string
}

// NewSecret wraps a text.
func NewSecret(value string) Secret { return Secret{value: &value} }

// Reveal returns the text, empty where none is set. It is for the one place that sends or computes with it.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsSet tells whether the secret was given.
func (s Secret) IsSet() bool { return s.value != nil }

// Equal compares two secrets in constant time for a given length.
func (s Secret) Equal(o Secret) bool {
	return s.IsSet() == o.IsSet() && subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(o.Reveal())) == 1
}

// String returns «redacted», or nothing where no secret is set.
func (s Secret) String() string {
	if s.value == nil {
		return ""
	}
	return redacted
}

// GoString is String, for %#v.
func (s Secret) GoString() string { return s.String() }

// Format writes String for every verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// LogValue is String, for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String, for encoders of text: YAML, map keys, flags.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON is String as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }
