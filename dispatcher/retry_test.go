package dispatcher

import (
	"math"
	"testing"
	"time"
)

// Guarantee C1.
func TestAttemptsAreExhaustedAfterTheRetries(t *testing.T) {
	for _, tt := range []struct {
		maxRetries, spent int
		want              bool
	}{
		{0, 0, false}, {0, 1, true}, {0, 2, true},
		{3, 1, false}, {3, 3, false}, {3, 4, true}, {3, 5, true},
		{-1, 1, false}, {-1, math.MaxInt, false},
	} {
		if got := (Retry{MaxRetries: tt.maxRetries}).exhausted(tt.spent); got != tt.want {
			t.Errorf("max_retries %d, %d spent: exhausted is %v, want %v", tt.maxRetries, tt.spent, got, tt.want)
		}
	}
}

// Guarantee C2.
// Guarantee H: backoff_is_capped_and_exponential.
func TestBackoffIsCappedAndExponential(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	for _, tt := range []struct {
		base, max time.Duration
		n         int
		want      time.Duration
	}{
		{100 * ms, 5 * s, 1, 100 * ms},
		{100 * ms, 5 * s, 2, 200 * ms},
		{100 * ms, 5 * s, 3, 400 * ms},
		{100 * ms, 5 * s, 6, 3200 * ms},
		{100 * ms, 5 * s, 7, 5 * s},
		{100 * ms, 5 * s, 100, 5 * s},
		{100 * ms, 5 * s, math.MaxInt, 5 * s},
		{s, 5 * time.Minute, 9, 256 * s},
		{s, 5 * time.Minute, 10, 5 * time.Minute},
		{0, 5 * s, 1, 0},
		{0, 5 * s, math.MaxInt, 0},
		{10 * s, 5 * s, 1, 5 * s},
		{10 * s, 5 * s, 3, 5 * s},
		{s, 0, 4, 0},
		{1, math.MaxInt64, 63, 1 << 62},
		{1, math.MaxInt64, 64, math.MaxInt64},
		{math.MaxInt64, math.MaxInt64, 2, math.MaxInt64},
		{math.MaxInt64/2 + 1, math.MaxInt64, 2, math.MaxInt64},
	} {
		if got := (Retry{Base: tt.base, Max: tt.max}).backoff(tt.n); got != tt.want {
			t.Errorf("base %v, max %v, n %d: %v, want %v", tt.base, tt.max, tt.n, got, tt.want)
		}
	}
}

// Guarantee C2.
func TestJitterSpreadsAroundTheBackoffAndStaysBelowItsBound(t *testing.T) {
	r := Retry{Base: time.Second, Max: 4 * time.Second, Jitter: 0.5}
	for _, tt := range []struct {
		n      int
		random float64
		want   time.Duration
	}{
		{1, 0, 500 * time.Millisecond},
		{1, 0.5, time.Second},
		{1, 0.75, 1250 * time.Millisecond},
		{9, 0, 2 * time.Second},
		{9, 0.5, 4 * time.Second},
	} {
		if got := r.after(tt.n, tt.random); got != tt.want {
			t.Errorf("n %d, random %v: %v, want %v", tt.n, tt.random, got, tt.want)
		}
	}
	almost := math.Nextafter(1, 0)
	for n := range 70 {
		if got := r.after(n+1, almost); got > 6*time.Second {
			t.Errorf("n %d: %v is above max·(1+jitter)", n+1, got)
		}
	}
	if got := (Retry{Base: 1, Max: math.MaxInt64, Jitter: 1}).after(100, almost); got < 0 {
		t.Errorf("overflow: %v", got)
	}
	if got := (Retry{Max: time.Second, Jitter: 1}).after(3, almost); got != 0 {
		t.Errorf("base 0: %v", got)
	}
}
