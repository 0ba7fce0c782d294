package main

import (
	"strings"
	"testing"
)

func TestAxisGoesFromPowerToPower(t *testing.T) {
	lines := []line{{points: [][2]float64{{10_000, 250_000}, {1_000_000, 300_000}}}}
	if got := newAxis(lines, 0); got != (axis{1e4, 1e6}) {
		t.Error(got)
	}
	if got := newAxis(lines, 1); got != (axis{1e5, 1e6}) || got.at(1e5) != 0 || got.at(1e6) != 1 {
		t.Error(got)
	}
	svg := chart{"a title", "x", "y", lines}.svg()
	if !strings.Contains(svg, "a title") || !strings.Contains(svg, "<polyline points=\"90.0,") {
		t.Error(svg)
	}
}
