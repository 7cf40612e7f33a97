// Command network measures what Sluice's networking costs, against the same done
// by hand on the same stack in the same run: the path of a request, the way of a
// new Model to its first answer, and what each of hundreds of routes adds to the
// control plane. `make bench-network` runs it; ../README.md says how to read it.
//
// It deploys into a namespace of its own and into the gateways' namespace, labels
// all that it makes, and removes it at the end, however it ends.
package main
