// Package resources decides what a tenant's reconciler does and builds what it
// writes: which namespaces a tenant holds, the next step of a move between
// gateways, the Services, certificates and domain of a tenant. Pure functions: no
// client, lister or clock.
package resources
