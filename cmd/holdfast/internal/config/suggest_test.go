package config

import "testing"

func TestTheNearestKnownWordIsSuggestedAndNoFarOne(t *testing.T) {
	t.Parallel()
	known := []string{"webhook", "stdout", "file", "max_bytes", "drop_newest", "warn", "block_timeout", "accept_timeout"}
	for word, want := range map[string]string{
		"webhok": "webhook", "wehbook": "webhook", "WebHook": "webhook", "stdoutt": "stdout", "fiel": "file", "maxBytes": "max_bytes",
		"max-byte": "max_bytes", "drop_oldest": "", "warning": "warn", "key": "", "": "", "blocktimeout": "block_timeout", "kafka": "",
		"bloc_timeot": "block_timeout",
	} {
		if got := closest(word, known); got != want {
			t.Errorf("closest(%q) = %q, want %q", word, got, want)
		}
	}
}
