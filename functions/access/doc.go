// Package access tells who asks a function, and whether they may, by the API server's word: a
// TokenReview says whose a token is, a SubjectAccessReview what that user may do. So whoever the
// cluster knows may ask, as far as RBAC lets them, be they people or service accounts. Pods that
// ask each second are known by their tokens alone, see package callers.
//
// Nothing is kept: rights that are taken away are gone with the next question.
package access
