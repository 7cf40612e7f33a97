// Package watch asks gateway pods each second what becomes of the requests of those Models
// that try other values within bounds, and tells which bounds were passed. It asks of no other
// Model, and no gateway that serves none of these. What it is told is judged by package bounds.
package watch
