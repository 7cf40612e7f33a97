// Package obstacle reads what keeps a revision's replicas from being ready, from what
// Kubernetes shows of them, and says what to do about it. It is the one place that does:
// the Model's reconciler and the limiter both ask it. It is pure; what is observed comes
// in, and the time is a value.
package obstacle
