// Package usage is the ledger: who used what. It reads what gateway pods and nodes count, has it
// added up, and keeps the sums in Usages, from which events are sent. How things are added up is for
// the packages below, which are pure.
package usage
