// Package counters reads what gateway pods count, as Envoy shows it. What counters mean is for
// those who ask.
package counters
