package metadata

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Tools write these on whatever they manage, some at every sync. On the replicas they
// would mean nothing, and make a revision each time; on an object that the tool didn't make,
// some have it pruned.
var (
	// bookkeepers are their domains, with all below them.
	bookkeepers = []string{
		"argoproj.io", "fluxcd.io", "helm.sh", "k14s.io", "kpt.dev", "cattle.io", "skaffold.dev", "spinnaker.io",
		"pulumi.com", "crossplane.io", "velero.io", "octopus.deployment", "azure-pipelines",
		"configmanagement.gke.io", "configsync.gke.io",
		"config.kubernetes.io", "config.k8s.io", "applyset.kubernetes.io",
	}
	// books are their keys in domains of others.
	books = []string{
		corev1.LastAppliedConfigAnnotation,
		"kubernetes.io/change-cause",
		"app.kubernetes.io/instance",
		"app.kubernetes.io/version",
		"app.kubernetes.io/managed-by",
		"app.kubernetes.io/created-by",
	}
)

func bookkeeping(domain, key string) bool {
	return slices.Contains(books, key) || slices.ContainsFunc(bookkeepers, func(parent string) bool { return within(domain, parent) })
}
