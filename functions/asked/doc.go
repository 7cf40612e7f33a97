// Package asked answers what people and tools ask of Models over HTTP: what would come of one
// tuned otherwise, and how one should be tuned. It gathers what that takes, the Model, the demand
// and how the cluster scales; package whatif has the answers. Nothing is changed.
//
// door.go lets questions in, question.go reads them, changed.go makes the other Model that one is
// about, answer.go has what is computed, and how much of it at a time.
package asked
