// Package reconciler holds the kinds of Sluice and the controllers that keep
// them true: one folder a kind, the API types under apis, generated clients
// under client, what is watched and how it is written under informers and
// accessor. What only reacts to a CloudEvent belongs in functions, what
// defines or sends one in eventing, and wiring in cmd.
package reconciler
