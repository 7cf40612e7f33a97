// Package uninstall takes Sluice out of the cluster, in both of the ways that there are, and
// holds to README what is left. It runs by itself, after all other tests: it takes away what
// they run on.
package uninstall
