// Package lease is the function that leases to batch's workers what Models have left: it asks
// the limiter, a second after a second, and divides that as package credits does. One of it at
// a time may lease.
//
// function.go has what goes on by itself, door.go how workers ask, slacks.go how the limiter
// is asked, progress.go what workers say of how far they are, hunger.go which runs hold no
// replica for want of credits.
package lease
