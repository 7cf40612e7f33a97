// Package split divides what a replica used over a time into what it did then. The parts make up
// the whole, always. It decides over plain values.
package split
