package file

// Handle lets tests put a file of their own between the sink and the disk.
type Handle = handle

// OpenWith makes s open its file and its directory by open.
func OpenWith(s *Sink, open func(path string, flag int) (Handle, error)) { s.open = open }
