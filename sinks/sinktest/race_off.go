//go:build !race

package sinktest

// slowdown is how much slower everything is that the suite measures.
const slowdown = 1
