//go:build !linux

package killer

import "syscall"

func diesWithParent() *syscall.SysProcAttr { return nil }
