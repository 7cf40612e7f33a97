// Package trace has recorded demand: how many requests came in each second, of which seconds
// that isn't known, and how many replicas were ready, where that was recorded too. What is
// missing is never guessed.
package trace
