// Package api is the HTTP side of the service: it accepts items, shows where they are, and lets an operator act.
//
// # Accepting
//
// A body is read whole before anything is stored. Whatever is too large, malformed or unknown is refused with the line
// and the field, and stores nothing of its request. A 2xx comes only after the queue said that the request is durable. If
// the queue does not answer within Options.AcceptTimeout the answer is 503 "uncertain": the items may have been stored,
// and only an idempotency key makes a repetition safe. On a stream each line is a request of its own, many are under way
// at once, and answers come in the order of the lines; want of room stops the reading and refuses no line. A client that
// waits for an answer ends the HTTP chunk with the line: what stands in half of a chunk may wait for the rest.
//
// An item may come as a CloudEvent 1.0.2 (package cloudevents): its attributes and extensions are the item's, its
// partitionkey is the key, its source and id are the idempotency key unless the Idempotency-Key header is there, and its
// data is the body, which may be empty. What an event or an envelope does not say, the request's Holdfast headers do.
// Holdfast-TTL and Holdfast-Not-Before hold for each item of the request.
//
// Bodies may be encoded by gzip or zstd, one at a time. Limits are of the expanded body. zstd may look back 8 MiB.
//
// # Waiting
//
// Prefer: wait=N asks for the ack of every sink, up to N seconds; so does ?wait=N for an item that was accepted before,
// and ?ack=delivered for each line of a stream, as Prefer: wait=300 does. 200 and "complete" mean that no sink is sent
// the item again, not even after a power cut.
//
// # Errors
//
// Every error is application/problem+json, RFC 9457, with a code that stays. Each 503 has Retry-After.
//
// # Protection
//
// With Options.Tokens each request needs one of a sufficient scope, but for /healthz and /readyz; without, everybody may
// do everything, and the service must listen on loopback and unix sockets only. Who has no token gets 401 for whatever
// path. A token's name owns the idempotency keys of what it brings. Client certificates are the listener's business.
//
// Against web pages that reach for the service through a browser there are a Host allow-list on loopback connections and
// http.CrossOriginProtection. Heads, bodies and times are bounded, and so is the memory for all bodies that are read or
// stored at once: more have to wait, and get 503 "busy" in the end. Payloads are served as application/octet-stream, never
// as what the producer called them. Panics answer 500.
//
// # Concurrency
//
// A Server is an http.Handler, safe for concurrent use. It starts no goroutine of its own but one that reads and one that
// watches for the stop, per stream or waiting request, and those end with it.
package api
