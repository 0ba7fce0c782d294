// Package subject is what is measured: holdfast in its two forms. Library builds it in this process, with sinks that only
// count; Stream and Post run it as a server in a process of its own, with webhook sinks that go to a receiver here.
//
//	library.go           the parts of the house, put together
//	build.go, server.go  the binary, its configuration, and the life of its process
//	ask.go               what is asked of a running one
//	bed.go               a server with its receiver, as a system of the harness
//	stream.go, post.go   producers, as lean as HTTP/1.1 by hand can be
package subject
