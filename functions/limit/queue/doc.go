// Package queue decides how many requests may come at once to a Model whose requests may
// wait. It is pure.
package queue
