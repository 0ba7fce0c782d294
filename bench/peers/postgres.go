package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
)

// postgresSkipLocked is PostgreSQL with synchronous_commit on: a row for each item and sink, which a sink deletes with SKIP
// LOCKED in the transaction in which it delivers. Class A. Sinks do not wait for the flush of that: what a crash takes back
// is one more delivery. Their plans are made for the table as it is, and by its key.
func postgresSkipLocked(sinks int) harness.System {
	return harness.System{Name: "postgres", Sinks: sinks, Class: "A", Floor: floor.NameTCP, Start: func(ctx context.Context, p harness.Place) (harness.Running, error) {
		return startPostgres(ctx, sinks, p)
	}}
}

func startPostgres(ctx context.Context, sinks int, p harness.Place) (harness.Running, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(p.Dir, "data")
	initdb := exec.CommandContext(ctx, postgresProgram("initdb"), "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.SysProcAttr = unprivileged()
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	args := []string{"-D", data, "-p", strconv.Itoa(ports[0])}
	for _, setting := range []string{"listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=on", "synchronous_commit=on", "max_connections=200",
		"shared_buffers=1GB", "max_wal_size=8GB", "autovacuum_naptime=5s", "plan_cache_mode=force_custom_plan"} {
		args = append(args, "-c", setting)
	}
	cmd := exec.Command(postgresProgram("postgres"), args...)
	cmd.SysProcAttr = unprivileged()
	return serve(ctx, "postgres", cmd, p.Dir, func(s *remote) error {
		s.signal = syscall.SIGINT // it cuts connections, and stops in good order
		return connectPostgres(ctx, s, fmt.Sprintf("postgres://bench@127.0.0.1:%d/postgres?sslmode=disable", ports[0]), sinks, p.Tally)
	})
}

// postgresProgram is the path of one of its programs, empty if it is not installed. Debian has them beside their version.
func postgresProgram(name string) string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) > 0 {
		return found[len(found)-1]
	}
	path, _ := exec.LookPath(name)
	return path
}

// unprivileged is how a program is started that refuses to run as root: with another name for the same user, so that it
// may still write where we do.
func unprivileged() *syscall.SysProcAttr {
	a := harness.DieWithParent()
	if os.Getuid() != 0 {
		return a
	}
	a.Cloneflags = syscall.CLONE_NEWUSER
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}}
	a.GidMappings = a.UidMappings
	return a
}

func connectPostgres(ctx context.Context, s *remote, url string, sinks int, t *harness.Tally) error {
	var admin *pgx.Conn
	err := s.process.await(ctx, func() (err error) { admin, err = pgx.Connect(ctx, url); return err })
	if err != nil {
		return err
	}
	_, err = admin.Exec(ctx, "CREATE TABLE job (sink int, id bigint GENERATED ALWAYS AS IDENTITY, body bytea NOT NULL, PRIMARY KEY (sink, id))")
	if err = errors.Join(err, admin.Close(ctx)); err != nil {
		return err
	}
	takers := make([]*pgx.Conn, sinks)
	for i := range takers {
		if takers[i], err = pgx.Connect(ctx, url+"&synchronous_commit=off&enable_seqscan=off&enable_bitmapscan=off&enable_sort=off"); err != nil {
			return err
		}
	}
	s.sinks = startWorkers(sinks, func(ctx context.Context, i int) error {
		defer takers[i].Close(context.WithoutCancel(ctx)) // an error says that the connection was cut, as the end of ctx does
		return takePostgres(ctx, takers[i], i, t)
	})
	s.dial = func(n int) (harness.Client, error) { return dialPostgres(url, sinks, n) }
	return nil
}

// dialPostgres is a producer: one statement for all rows of a put.
func dialPostgres(url string, sinks, n int) (harness.Client, error) {
	c, err := pgx.Connect(context.Background(), url)
	if err != nil {
		return nil, err
	}
	put := func(ctx context.Context, bodies bodies) error {
		_, err := c.Exec(ctx, "INSERT INTO job (sink, body) SELECT s, b FROM generate_series(0, $1::int - 1) s, unnest($2::bytea[]) b", sinks, [][]byte(bodies))
		return err
	}
	return &producer{newBodies(n), put, func() error { return c.Close(context.Background()) }}, nil
}

const postgresTake = `DELETE FROM job WHERE sink = $1 AND id = ANY (ARRAY (
	SELECT id FROM job WHERE sink = $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING body`

// takePostgres delivers batch after batch. Where nothing waits it looks again soon, and then less often: NOTIFY would
// make all commits wait for each other.
func takePostgres(ctx context.Context, c *pgx.Conn, sink int, t *harness.Tally) error {
	const soonest, latest = time.Millisecond, 8 * time.Millisecond
	pause := soonest
	for {
		n, err := takePostgresBatch(ctx, c, sink, t)
		if err != nil {
			return err
		}
		if n > 0 {
			pause = soonest
			continue
		}
		if err := harness.Sleep(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, latest)
	}
}

func takePostgresBatch(ctx context.Context, c *pgx.Conn, sink int, t *harness.Tally) (n int, err error) {
	tx, err := c.Begin(ctx)
	if err != nil {
		return 0, err
	}
	rows, err := tx.Query(ctx, postgresTake, sink, deliveryBatch)
	if err != nil {
		return 0, errors.Join(err, tx.Rollback(ctx))
	}
	for rows.Next() {
		t.Scan(sink, rows.RawValues()[0])
		n++
	}
	if rows.Close(); rows.Err() != nil {
		return 0, errors.Join(rows.Err(), tx.Rollback(ctx))
	}
	return n, tx.Commit(ctx)
}
