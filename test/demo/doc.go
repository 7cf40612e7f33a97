// Command demo deploys a real model through Sluice on a running stack, asks it for
// one prediction from zero replicas, and shows second by second how the gateway's
// limit follows the replicas while a bounded load rises and falls. `make demo` runs
// it; what it deploys is in model.yaml.
//
// It exits with 0 only if every admitted request was answered, and the limit in
// force was, at every sample, the one that the formula gives.
package main
