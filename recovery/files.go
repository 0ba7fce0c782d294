package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"holdfast/store"
)

// The names that a store has in its directory.
const (
	queuesName = "queues.db"
	logName    = "log"
)

// refuseLinks refuses symbolic links where a store's own files belong: what they point to may be anything.
func refuseLinks(dir string) error {
	for _, name := range []string{"LOCK", queuesName, logName, "quarantine"} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return &store.DamageError{Path: filepath.Join(dir, name), Offset: -1, What: "it is a symbolic link"}
		}
	}
	return nil
}

// leftovers lists the temporary files that an interrupted step left, by our own names for them.
func leftovers(dir string) (paths []string, err error) {
	for _, sub := range []string{dir, filepath.Join(dir, logName)} {
		entries, err := os.ReadDir(sub)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look for leftovers: %w", err)
		}
		for _, e := range entries {
			if e.Type().IsRegular() && ours(e.Name()) {
				paths = append(paths, filepath.Join(sub, e.Name()))
			}
		}
	}
	return paths, nil
}

// sweep removes what leftovers found, as far as the opening of the store has not, and makes that durable. It comes after
// the formats were checked: in a directory of another format the names may mean something else.
func sweep(dir string, paths []string) error {
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sweep: %w", err)
		}
	}
	for _, sub := range []string{dir, filepath.Join(dir, logName)} {
		if err := store.SyncDir(sub); err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
	}
	return nil
}

// ours reports whether a temporary file is one that a store makes.
func ours(name string) bool {
	stem, ok := strings.CutSuffix(name, ".tmp")
	return ok && (stem == queuesName || stem == "spare" || strings.HasSuffix(stem, ".log.gone") || strings.HasSuffix(stem, ".keys"))
}

// rewriteMetas makes sure that the disk has the meta pages of queues.db that were read: after a failed flush the page
// cache may show what the disk does not have. No crash leaves one of them invalid, or txids further apart than one: then
// the disk broke its word, and queues.db may silently be an older commit. That is told, a copy is kept, and the start
// goes on: what an older commit repeats are deliveries with the same ids.
func rewriteMetas(dir string, r *Report) error {
	path := filepath.Join(dir, queuesName)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return &store.DamageError{Path: path, Offset: -1, What: "it is missing, but the log has segments"}
	}
	metas, err := store.CheckMetas(path)
	if err != nil {
		return err
	}
	if !metas.Valid[0] && !metas.Valid[1] {
		return &store.DamageError{Path: path, Offset: 0, What: "neither of its meta pages is valid"}
	}
	if !metas.OK() {
		if err := store.CheckFormat(path); err != nil {
			return err
		}
		r.RolledBack = true
		if r.Quarantine, err = quarantine(dir, path); err != nil {
			return err
		}
	}
	return store.RewriteMetas(path)
}

// quarantine copies a file that is about to be changed in place to quarantine/<time>/, durably. An earlier start may
// have done it, and died before it changed anything.
func quarantine(dir, path string) (string, error) {
	if to, err := kept(dir, path); to != "" || err != nil {
		return to, err
	}
	to := filepath.Join(dir, "quarantine", time.Now().UTC().Format("20060102T150405.000000000Z"))
	if err := makeDir(to); err != nil {
		return "", err
	}
	if err := copyFile(path, filepath.Join(to, filepath.Base(path))); err != nil {
		return "", fmt.Errorf("quarantine: %w", err)
	}
	return to, store.SyncDir(to)
}

// kept returns where in quarantine the same bytes are already; empty: nowhere.
func kept(dir, path string) (string, error) {
	root := filepath.Join(dir, "quarantine")
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("quarantine: %w", err)
	}
	for _, e := range entries {
		to := filepath.Join(root, e.Name(), filepath.Base(path))
		same, err := sameFile(path, to)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return "", fmt.Errorf("quarantine: %w", err)
		}
		if same {
			return filepath.Dir(to), nil
		}
	}
	return "", nil
}

// sameFile compares what two files hold, and makes the second one durable if that is the same.
func sameFile(path, other string) (bool, error) {
	a, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := os.Open(other)
	if err != nil {
		return false, err
	}
	defer b.Close()
	x, y := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, aerr := io.ReadFull(a, x)
		m, berr := io.ReadFull(b, y)
		switch {
		case aerr != nil && !ended(aerr):
			return false, aerr
		case berr != nil && !ended(berr):
			return false, berr
		case !bytes.Equal(x[:n], y[:m]):
			return false, nil
		case aerr != nil:
			return true, errors.Join(b.Sync(), store.SyncDir(filepath.Dir(other)))
		}
	}
}

func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Sync(), dst.Close())
}
