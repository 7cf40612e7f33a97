// Package rollout decides how a Model's requests are split over its revisions, which
// replicas are kept for that, and when to look again. It is pure: what is observed
// comes in as a State, what is to be done goes out as a Plan, and the time is a value.
// What was decided before is read off the Model's status and the split in force, so
// that a controller may die at any point.
package rollout
