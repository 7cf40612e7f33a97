// Package resources turns a Model into the objects it owns. Pure functions from
// API object to API object: no clients, listers, clocks or I/O.
package resources
