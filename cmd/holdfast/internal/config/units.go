package config

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	sizeForm = regexp.MustCompile(`^([0-9]{1,19}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)$`)
	daysForm = regexp.MustCompile(`^([0-9]{1,6})d(.*)$`)
)

var (
	sizeUnits = []string{"B", "kB", "KiB", "MB", "MiB", "GB", "GiB", "TB", "TiB"}
	sizeBytes = []int64{1, 1e3, 1 << 10, 1e6, 1 << 20, 1e9, 1 << 30, 1e12, 1 << 40}
)

// parseSize reads "1MiB", "1.5GB" or plain bytes. A fraction of a byte is cut.
func parseSize(text string) (int64, error) {
	m := sizeForm.FindStringSubmatch(text)
	if m == nil {
		return 0, errors.New("is not a size, like 64MiB")
	}
	unit := max(0, slices.Index(sizeUnits, m[2]))
	if m[2] != "" && m[2] != sizeUnits[unit] {
		return 0, unknownUnit(m[1], m[2])
	}
	n, _ := new(big.Rat).SetString(m[1])
	n.Mul(n, new(big.Rat).SetInt64(sizeBytes[unit]))
	whole := new(big.Int).Quo(n.Num(), n.Denom())
	if !whole.IsInt64() {
		return 0, errors.New("is too large")
	}
	return whole.Int64(), nil
}

// unknownUnit guesses that a bare letter means the binary unit, as it does in dd and systemd.
func unknownUnit(number, unit string) error {
	for _, known := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if strings.EqualFold(unit, known[:1]) || strings.EqualFold(unit, known) {
			return fmt.Errorf("is not a size (did you mean %q?)", number+known)
		}
	}
	for _, known := range sizeUnits {
		if strings.EqualFold(unit, known) {
			return fmt.Errorf("is not a size (did you mean %q?)", number+known)
		}
	}
	return fmt.Errorf("is not a size: the units are %s", strings.Join(sizeUnits, ", "))
}

// showSize writes a bound the way that people write it.
func showSize(n int64) string {
	for i := len(sizeUnits) - 1; i > 0; i-- {
		if strings.HasSuffix(sizeUnits[i], "iB") && n >= sizeBytes[i] && n%sizeBytes[i] == 0 {
			return strconv.FormatInt(n/sizeBytes[i], 10) + sizeUnits[i]
		}
	}
	return strconv.FormatInt(n, 10)
}

// parseDuration reads Go's durations, and days before them: "90s", "1h30m", "7d", "1d12h".
func parseDuration(text string) (time.Duration, error) {
	const day = 24 * time.Hour
	var days time.Duration
	if m := daysForm.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1])
		if days, text = time.Duration(n)*day, m[2]; n > 100_000 {
			return 0, errors.New("is too long")
		}
		if text == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(text)
	switch {
	case err == nil && d < 0 && days > 0:
		return 0, errors.New("is not a duration, like 90s, 5m or 7d")
	case err == nil && d+days < d:
		return 0, errors.New("is too long")
	case err == nil:
		return d + days, nil
	case wholeNumber.MatchString(text):
		return 0, fmt.Errorf("has no unit (did you mean %q?)", text+"s")
	}
	return 0, errors.New("is not a duration, like 90s, 5m or 7d")
}
