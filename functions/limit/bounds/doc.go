// Package bounds decides whether the requests of a Model show that one of its trial's bounds
// is passed, and not by chance. It is pure: what gateway pods have counted is handed to it,
// by the second, and what time it is.
package bounds
