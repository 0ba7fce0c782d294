// Package api is the HTTP side of the service: it accepts items, shows where they are, and lets an operator act.
//
// # Accepting
//
// A body is read whole before anything is stored. Whatever is too large, malformed or unknown is refused with the line
// and the field, and stores nothing of its request. A 2xx comes only after the queue said that the request is durable. If
// the queue does not answer within Options.AcceptTimeout the answer is 503 "uncertain": the items may have been stored,
// and only an idempotency key makes a repetition safe. On a stream each line is a request of its own, many are under way
// at once, and answers come in the order of the lines; want of room stops the reading and refuses no line.
//
// # Errors
//
// Every error is application/problem+json, RFC 9457, with a code that stays. Each 503 has Retry-After.
//
// # Protection
//
// There is no authentication yet: the service listens on loopback only. Against web pages that reach for it through a
// browser there are a Host allow-list on loopback connections and http.CrossOriginProtection. Heads, bodies and times are
// bounded. Payloads are served as application/octet-stream, never as what the producer called them. Panics answer 500.
//
// # Concurrency
//
// A Server is an http.Handler, safe for concurrent use. It starts no goroutine of its own but one that reads and one that
// watches for the stop, per stream or waiting request, and those end with it.
package api
