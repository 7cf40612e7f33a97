// Package slots decides which limits a slot has room for. It is pure.
package slots
