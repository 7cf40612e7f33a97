// Package simulation runs Knative's own autoscaler against the limits of package
// capacity, in simulated time, to show whether they starve it.
//
// Real are the autoscaler's decisions and windows (knative.dev/serving
// pkg/autoscaler/{scaling,metrics}), what it makes of a Model's settings, the
// webhook's warnings, and the limit's formulas and buckets. Modelled are the load,
// a gateway, the queues of activator and queue-proxy, and the replicas. There is
// nothing here but tests; with go test -v they print their tables.
package simulation
