package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"holdfast/bench/floor"
	"holdfast/bench/harness"
)

// sqliteFull is SQLite with a log and synchronous=FULL: a table for each sink, so that a removal touches the pages of one
// sink alone, and a transaction for each put. Class A.
func sqliteFull(sinks int) harness.System { return sqliteSystem("sqlite", sinks, false) }

// sqliteGroup is the same with one writer that takes all puts which wait in one transaction: what its user has to write.
func sqliteGroup(sinks int) harness.System { return sqliteSystem("sqlite-group", sinks, true) }

func sqliteSystem(name string, sinks int, group bool) harness.System {
	return harness.System{Name: name, Floor: floor.NameHere, Sinks: sinks, Class: "A", Start: func(ctx context.Context, p harness.Place) (harness.Running, error) {
		q, err := openSQLite(ctx, sinks, p.Dir)
		if err != nil {
			return nil, err
		}
		w := startWorkers(sinks, func(ctx context.Context, i int) error {
			return q.deliver(ctx, i, func(body []byte) { p.Tally.Scan(i, body) })
		})
		if !group {
			return &library{q.put, func() error { return errors.Join(w.stop(), q.close()) }}, nil
		}
		g := startGrouper(q.put)
		return &library{g.put, func() error { return errors.Join(g.stop(), w.stop(), q.close()) }}, nil
	}}
}

// A sqliteQueue has one connection that puts, and one for each sink, which need not flush: a removal that a crash takes
// back is one more delivery.
type sqliteQueue struct {
	db      *sql.DB
	bells   []bell
	mu      sync.Mutex // held while something is written: to wait here is cheaper than in SQLite, which sleeps
	putter  *sql.Conn  // guarded by mu
	inserts map[int][]*sql.Stmt
	takers  []*sql.Conn
}

func openSQLite(ctx context.Context, sinks int, dir string) (q *sqliteQueue, err error) {
	path := filepath.Join(dir, "queue.db")
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(20000)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	q = &sqliteQueue{db: db, bells: newBells(sinks), inserts: map[int][]*sql.Stmt{}}
	if q.putter, err = db.Conn(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	for i := range sinks {
		if _, err = q.putter.ExecContext(ctx, fmt.Sprintf("CREATE TABLE sink%d (id INTEGER PRIMARY KEY, body BLOB NOT NULL)", i)); err != nil {
			return nil, errors.Join(err, db.Close())
		}
		c, err := db.Conn(ctx)
		if err == nil {
			_, err = c.ExecContext(ctx, "PRAGMA synchronous=NORMAL")
		}
		if err != nil {
			return nil, errors.Join(err, db.Close())
		}
		q.takers = append(q.takers, c)
	}
	return q, nil
}

func (q *sqliteQueue) close() (err error) {
	for _, c := range append(q.takers, q.putter) {
		err = errors.Join(err, c.Close())
	}
	return errors.Join(err, q.db.Close())
}

// put stores bodies for every sink in one transaction.
func (q *sqliteQueue) put(ctx context.Context, bodies bodies) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	tx, err := q.putter.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for len(bodies) > 0 && err == nil {
		n := deliveryBatch // powers of two, so that there are few statements
		for n > len(bodies) {
			n /= 2
		}
		err = q.insert(ctx, bodies[:n])
		bodies = bodies[n:]
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	for _, b := range q.bells {
		b.ring()
	}
	return nil
}

// insert has one statement for each sink, whatever the number of bodies. The caller holds mu, and a transaction.
func (q *sqliteQueue) insert(ctx context.Context, bodies bodies) error {
	if q.inserts[len(bodies)] == nil {
		values := strings.Repeat(",(?)", len(bodies))[1:]
		for i := range q.bells {
			s, err := q.putter.PrepareContext(ctx, fmt.Sprintf("INSERT INTO sink%d (body) VALUES %s", i, values))
			if err != nil {
				return err
			}
			q.inserts[len(bodies)] = append(q.inserts[len(bodies)], s)
		}
	}
	var args []any
	for _, b := range bodies {
		args = append(args, b)
	}
	for _, s := range q.inserts[len(bodies)] {
		if _, err := s.ExecContext(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// deliver hands a sink what is in its table, in batches, and removes each then.
func (q *sqliteQueue) deliver(ctx context.Context, sink int, got func(body []byte)) error {
	c := q.takers[sink]
	read, err := c.PrepareContext(ctx, fmt.Sprintf("SELECT id, body FROM sink%d ORDER BY id LIMIT %d", sink, deliveryBatch))
	if err != nil {
		return err
	}
	remove, err := c.PrepareContext(ctx, fmt.Sprintf("DELETE FROM sink%d WHERE id <= ?", sink))
	if err != nil {
		return err
	}
	for {
		last, err := readSQLite(ctx, read, got)
		if err == nil && last == 0 {
			err = q.bells[sink].wait(ctx)
		} else if err == nil {
			q.mu.Lock()
			_, err = remove.ExecContext(ctx, last)
			q.mu.Unlock()
		}
		if err != nil {
			return err
		}
	}
}

// readSQLite returns the last id of a batch, 0 if there was none.
func readSQLite(ctx context.Context, read *sql.Stmt, got func(body []byte)) (last int64, err error) {
	rows, err := read.QueryContext(ctx)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var body sql.RawBytes
	for rows.Next() {
		if err := rows.Scan(&last, &body); err != nil {
			return 0, err
		}
		got(body)
	}
	return last, rows.Err()
}
