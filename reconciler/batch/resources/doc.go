// Package resources turns a Batch into the Jobs that run it. Pure functions from API object
// to API object: no clients, listers, clocks or I/O.
package resources
