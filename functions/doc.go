// Package functions holds the handlers of CloudEvents: each gathers state,
// decides by pure functions, and acts. An event only says "look now"; what is
// done follows from the state of the cluster. No function knows a reconciler.
package functions
