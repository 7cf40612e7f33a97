// Package model keeps a Model's Knative Service, the autoscaling of its live
// revisions, its RateLimit and its status true, as far as its tenant's caps have
// room. Each is a step of the Reconciler, in a file of its own: service (which plans
// rollouts and pins what replicas are warmed up by), tuning, warmup and ratelimit.
// What those objects look like is in resources; what a cap refuses is the API's
// (RefuseGrowth), which the webhook asks too; what a limit amounts to is the limiter's.
package model
