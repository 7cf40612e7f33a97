// Package callers tells who calls a function, by the token that Kubernetes gives a pod for an
// audience of ours. Tokens are checked by the API server's keys, which are read once, and again
// for a key that isn't known, but not for each such token: a call asks nobody.
//
// callers.go has who calls, keys.go the keys.
package callers
