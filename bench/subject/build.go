package subject

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build builds the holdfast of this module into dir, once, and returns its path.
func Build(ctx context.Context, dir string) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "holdfast").Output()
	if err != nil {
		return "", fmt.Errorf("find the module (run this inside it, or name a binary): %w", err)
	}
	path := filepath.Join(dir, "holdfast")
	build := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/holdfast")
	build.Dir = strings.TrimSpace(string(root))
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build holdfast: %w\n%s", err, out)
	}
	return path, nil
}
