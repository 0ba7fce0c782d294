package main

import (
	"os"
	"os/exec"

	"holdfast/bench/harness"
)

// A peer is a system that holdfast is compared with.
type peer struct {
	system  func(sinks int) harness.System
	missing func() string // the Debian package that is not installed, empty if there is none

	// Most bounds the items of a run by workload, where all of them would take it more than some seconds.
	most map[string]int
}

// peers are all, libraries first, and those that need a package last.
func peers() []peer {
	nothing := func() string { return "" }
	some := map[string]int{"p64": 20_000, "b256": 120_000}
	return []peer{
		{diskQueue, nothing, map[string]int{"p1": 300, "p64": 1_000, "b256": 1_024}},
		{dqueTurbo, nothing, map[string]int{"p64": 6_400, "b256": 120_000}},
		{goqueLevelDB, nothing, some},
		{sqliteFull, nothing, map[string]int{"p64": 6_400, "b256": 120_000}},
		{sqliteGroup, nothing, some},
		{otelFsync, nothing, map[string]int{"p64": 1_920, "b256": 120_000}},
		{natsAlways, nothing, map[string]int{"p64": 6_400, "b256": 12_288}},
		{natsDefault, nothing, some},
		{nsqEvery, nothing, map[string]int{"p1": 300, "p64": 1_000, "b256": 1_024}},
		{redisAlways, wants("redis-server", inPath("redis-server")), nil},
		{postgresSkipLocked, wants("postgresql", postgresProgram("postgres")), some},
		{rabbitQuorum, wants("rabbitmq-server", inPath(rabbitProgram)), map[string]int{"p64": 20_000, "b256": 60_000}},
		{rsyslogRELP, wants("rsyslog-relp", rsyslogProgram()), map[string]int{"p1": 200, "p64": 1_000, "b256": 1_024}},
		{mosquittoQoS1, wants("mosquitto", inPath("mosquitto")), some},
	}
}

// wants is the package if the path of its program is empty.
func wants(debian, path string) func() string {
	return func() string {
		if path != "" {
			return ""
		}
		return debian
	}
}

// inPath finds a program, empty if there is none. Debian has some where only root looks.
func inPath(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	path := "/usr/sbin/" + name
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}
