// Package platform is Sluice as a test sees it from outside: clients, the
// gateway's address, predictions, the trail of a Model's replicas and limit, and
// the limit that should be in force by the formula of the design, written down
// here once more so that it checks the product's. The demo and the e2e tests share
// it; nothing here changes the cluster, and the product never imports it.
package platform
