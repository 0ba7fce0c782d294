//go:build race

package sinktest

// slowdown is how much slower everything is that the suite measures: the race detector's share.
const slowdown = 10
