// Package model keeps a Model's Knative Service, the autoscaling of its live
// revisions, its RateLimit and its status true. What those objects look like is
// in resources; what a limit amounts to is the limiter's.
package model
