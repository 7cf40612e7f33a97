// Package division divides a limit over gateways and their entries. It is pure:
// plain values in, plain values out.
//
// shares.go has the shares of some places, division.go how they follow the demand and
// where each gateway may have the whole limit.
package division
