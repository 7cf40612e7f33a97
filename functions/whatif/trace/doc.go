// Package trace has recorded demand: how many requests came in each second, and of which
// seconds that isn't known. What is missing is never guessed.
package trace
