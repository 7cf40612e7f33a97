// Package eventing defines Sluice's CloudEvents: a Go type, a JSON schema and a
// constructor each, or a parser of what users send; and the client that sends them to the Broker. What reacts to
// an event belongs in functions, what notices a change in reconciler.
package eventing
