package killer

import "syscall"

// diesWithParent ends the child even where the test cannot: when it is killed itself.
func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
