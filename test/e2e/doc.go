// Package e2e tests Sluice on a real stack: Knative Serving and Eventing, Istio,
// Envoy, and the ranker as a model. Its tests have the build tag e2e and run by
// `make test-e2e`, with KUBECONFIG, RANKER_IMAGE and STREAMS_IMAGE in the environment, and
// S3EVENTS_IMAGE and VERSITYGW_IMAGE for one of them.
//
// Each test has a namespace of its own (stage_test.go), waits for conditions and
// never for time, and leaves nothing behind. Those that mostly wait run side by side,
// after the others: they restart nothing of the platform's, change no setting that another
// of them goes by and no listener of the shared gateway, and hold nothing to a second. What
// is shared with the demo is in platform; what needs no cluster belongs beside the code it
// tests.
package e2e
