// Command cluster brings up, checks and takes down the real stack that Sluice
// is developed and tested on: Kubernetes, Istio and Knative on one Linux
// machine, built from public Go modules, Debian packages and one Python wheel.
//
// What lives here: the declared list of components, how each is built, started,
// checked and undone. What must not: anything the product imports, and any
// knowledge of Sluice's own kinds; Sluice is installed on the stack by the
// Makefile, as on any other cluster.
package main
