package api

import (
	"errors"
	"regexp"
	"strconv"
	"time"
)

// days are what Go's durations do not have. They come first, as in "7d" or "1d12h".
var days = regexp.MustCompile(`^([0-9]{1,6})d(.*)$`)

const day = 24 * time.Hour

// parseTTL reads how long an item is of use, from when it is accepted: more than nothing, which is a millisecond.
func parseTTL(text string) (time.Duration, error) {
	var d time.Duration
	rest := text
	if m := days.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1])
		if d, rest = time.Duration(n)*day, m[2]; n > 100_000 {
			return 0, errors.New("it is too long")
		}
	}
	if rest != "" || d == 0 && rest == text {
		more, err := time.ParseDuration(rest)
		if err != nil || more < 0 && d > 0 {
			return 0, errors.New("it is not a duration like 90s, 5m or 7d")
		}
		if d+more < d && more > 0 {
			return 0, errors.New("it is too long")
		}
		d += more
	}
	if d < time.Millisecond {
		return 0, errors.New("it is not more than nothing")
	}
	return d, nil
}

// parseNotBefore reads when an item is due. What is over since before 1970 is due at once, as is all that is over.
func parseNotBefore(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, errors.New("it is not a time of RFC 3339, like 2026-01-02T15:04:05Z")
	}
	if t.UnixMilli() <= 0 {
		return time.Time{}, nil
	}
	return t, nil
}
