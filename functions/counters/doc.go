// Package counters reads what gateway pods and nodes count, as they show it to Prometheus. What counters
// mean is for those who ask.
package counters
