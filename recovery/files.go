package recovery

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"holdfast/store"
)

// The names that a store has in its directory.
const (
	queuesName = "queues.db"
	logName    = "log"
)

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
