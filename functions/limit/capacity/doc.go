// Package capacity says how many requests per second replicas are for, and how many
// replicas requests call for: pure functions over plain values. capacity.go has the
// limit's formulas, cap.go what several limits may be together, parts.go what each
// revision may have within one, bucket.go the token buckets, floor.go the replicas
// that a demand calls for, starts.go how long those that are on their way are expected,
// pods.go what their pods say of it. Nothing here reads the cluster or a clock.
package capacity
