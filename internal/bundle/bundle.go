// Package bundle sends many HTTP requests to the same host in one: while some are under way, those that come gather, and
// then they go together. It is group commit for the way to the leader, and as there nobody waits for a timer.
//
// The body of a bundle is its requests as HTTP/1.1 writes them, one after the other, and the body of the answer to it is
// their answers, in the same order.
//
// Its one invariant: an error that is ErrNotServed means that the other side has not begun with the request, and never will.
package bundle

import "errors"

// Path is where a Handler takes bundles.
const Path = "/v1/bundle"

// ErrNotServed is in the error of a request that was not sent, or was refused before it was looked at. After any other error
// it may have been served.
var ErrNotServed = errors.New("the request was not served")

const (
	// underWay is how many bundles are sent to a host at a time: while one is answered, the next is already there.
	underWay = 2
	// maxRequests and maxBytes bound a bundle, but for a single request, which may be larger than maxBytes.
	maxRequests = 256
	maxBytes    = 1 << 20
	// maxTakenBytes bounds what a Handler reads. It has room for the largest single request.
	maxTakenBytes = 4 << 20
)
