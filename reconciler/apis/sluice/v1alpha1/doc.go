// Package v1alpha1 is the first version of the sluice.dev API: the kinds, their
// defaults, validation and conditions. No I/O, no clients.
//
// +k8s:deepcopy-gen=package
// +groupName=sluice.dev
package v1alpha1
