// Package credits divides what a Model has left for batch over the workers that ask for
// some of it, as leases that end by themselves. It is pure: it is told the time, and its
// callers see to it that one at a time does anything.
//
// ask.go has what workers and the function say to each other, ledger.go what is leased to
// whom, share.go who is to have how much, bucket.go how a worker goes by its leases.
package credits
