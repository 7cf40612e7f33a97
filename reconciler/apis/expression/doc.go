// Package expression evaluates texts with ${...} in them, each a CEL expression over a CloudEvent,
// event. It is compiled, with its types, by whoever lets such a text in, and evaluated within
// bounds by whoever has the event. No I/O, no clock.
//
// template.go has the texts, environment.go what expressions know, event.go what an event is to
// them, budget.go, price.go, compare.go and weight.go what they may spend, json.go how results become JSON.
package expression
