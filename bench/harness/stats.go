package harness

import (
	"math"
	"slices"
	"time"
)

// A Spread is a figure over the rounds. The zero value is none.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	N      int     `json:"n"`
}

// SpreadOf makes one; of an even number of values the median is the mean of the two in the middle.
func SpreadOf(v []float64) Spread {
	if len(v) == 0 {
		return Spread{}
	}
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return Spread{(v[(n-1)/2] + v[n/2]) / 2, v[0], v[n-1], n}
}

// Median of values, 0 if there are none.
func Median(v []float64) float64 { return SpreadOf(v).Median }

// Percentiles of latencies, in microseconds.
type Percentiles struct {
	P50  float64 `json:"p50_us"`
	P99  float64 `json:"p99_us"`
	P999 float64 `json:"p999_us"`
}

// percentilesOf sorts took.
func percentilesOf(took []time.Duration) Percentiles {
	slices.Sort(took)
	at := func(q float64) float64 {
		if len(took) == 0 {
			return 0
		}
		return float64(took[rank(q, len(took))]) / 1e3
	}
	return Percentiles{at(0.5), at(0.99), at(0.999)}
}

// rank is the index of a quantile in n sorted values: the smallest that at least q of them do not exceed.
func rank(q float64, n int) int {
	return min(max(int(math.Ceil(q*float64(n)))-1, 0), n-1)
}

// Ratio is a by b, 0 where there is no b.
func Ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// Over is the spread in a larger unit.
func (s Spread) Over(unit float64) Spread {
	return Spread{s.Median / unit, s.Min / unit, s.Max / unit, s.N}
}
