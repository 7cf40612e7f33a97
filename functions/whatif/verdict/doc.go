// Package verdict tells whether what a Model tried came out better than what the Model says: by
// what was recorded of the trial, and a replay of the same demand with both. It asks no cluster
// and keeps nothing.
//
// verdict.go has the trial replayed, measured.go says what was recorded of it, decide.go is what
// better means.
package verdict
