// Package replay lets demand meet a Model in simulated time: the entry of a gateway where it
// comes, the activator, replicas, and whoever scales and limits them.
//
// Real are the autoscaler's decisions and windows (knative.dev/serving
// pkg/autoscaler/{scaling,aggregation}), what it makes of a Model's annotations, and the
// limit's formulas, floor and buckets (functions/limit/capacity). Modelled are the gateway,
// the queues of activator and queue-proxy, the replicas, and the part of Knative's
// reconciler that it keeps to itself: the way to none (zero.go).
//
// A World is a plain value that is told of requests step by step. It reads no clock, starts
// no goroutine, and its size goes by the replicas and by what waits.
package replay
