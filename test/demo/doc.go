// Command demo deploys a real model through Sluice on a running stack, asks it for
// one prediction from zero replicas, and shows second by second how the gateway's
// limit follows the replicas while a bounded load rises and falls. Then it scales the
// same model up without and with a warm-up. `make demo` runs it; what it deploys is in
// model.yaml.
//
// It exits with 0 only if every admitted request was answered, the limit in force
// was, at every sample, the one that the formula gives, and no caller of a warm replica
// waited for its initialisation.
package main
