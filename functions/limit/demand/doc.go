// Package demand tells how many requests a second arrive for each virtual service at
// each entry of a gateway, from the counters that gateway pods keep. It knows nothing
// of limits.
package demand
