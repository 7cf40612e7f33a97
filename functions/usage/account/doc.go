// Package account adds up what a Model used, from counters that only grow, and keeps up to where it
// has counted beside the sums. It decides over plain values: what is read, and when, is told to it.
package account
