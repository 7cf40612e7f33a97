// Package model keeps a Model's Knative Service, the autoscaling of its live
// revisions, its RateLimit and its status true, as far as its tenant's caps have
// room. What those objects look like is in resources; what a cap refuses is the
// API's (RefuseGrowth), which the webhook asks too; what a limit amounts to is the
// limiter's.
package model
