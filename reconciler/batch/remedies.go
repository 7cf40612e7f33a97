package batch

import (
	"strings"

	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/reconciler/apis/obstacle"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

// Reasons that are said here. Those of pods are task's and obstacle's.
const (
	reasonSuspended          = "Suspended"
	reasonModelMissing       = "ModelMissing"
	reasonModelNotReady      = "ModelNotReady"
	reasonInvalid            = "Invalid"
	reasonOutputInUse        = task.OutputInUse
	reasonDeadlineExceeded   = "DeadlineExceeded"
	reasonNoItems            = "NoItems"
	reasonItemsMissing       = "ItemsMissing"
	reasonTooManyFailedItems = task.TooManyFailedItems
	reasonWorkerFailed       = "WorkerFailed"
)

// again is what is to be done once the remedy of a run is, that has failed for good. A topic may
// have the records of several runs.
func again(b *v1alpha1.Batch) string {
	if b.Spec.Output.Kafka != nil {
		return " Then create the Batch again."
	}
	return " Then create the Batch again, with an output of its own."
}

// remedies are what is to be done, by what a pod ended with.
var remedies = map[string]string{
	task.InputMissing:       "Correct spec.input, or put there what it names.",
	task.InputUnreadable:    "Correct what is there, or spec.format.",
	task.InputChanged:       "Leave the input as it is until the run is over, and have a topic keep its records for as long (retention.ms).",
	task.OutputInUse:        "Give the Batch an output of its own (spec.output), or remove what is there.",
	task.OutputMissing:      "Create the bucket or the topic, or correct spec.output.",
	task.OutputUnsafe:       "Have spec.output name a store that heeds If-None-Match, or a volume that takes hard links, as NFS and disks do; or correct the topic's setting that is named.",
	task.StoreRefused:       "Correct what the Secret has that secretName names, the keys accessKeyID and secretAccessKey or, for Kafka, username, password and mechanism; or have it allowed to read the input and to write the output.",
	task.StoreAway:          "Have the store seen to, or correct its endpoint, or bootstrapServers and tls; the run's pods have to reach it.",
	task.DiskFull:           "Give what is full more room: the output's volume or bucket, the nodes' disks, or the run's pods (spec.resources.limits[ephemeral-storage]).",
	task.ModelAway:          "See the Model's conditions (kubectl describe model).",
	task.TooManyFailedItems: "See the errors in the output, mend what they tell of, or raise spec.maxFailedItems.",
	task.Interrupted:        "Let it be begun again.",
	reasonNoItems:           "Put some there, or correct spec.input.",
	reasonWorkerFailed:      "See the log of its pod (kubectl logs).",
	oomKilled:               "Raise memory in spec.resources.limits, or have smaller items.",
}

const (
	inNamespace = " in the Batch's namespace, or correct what names it in spec.input or spec.output."
	askForLess  = "Ask for less in spec.resources, or for fewer pods in spec.workers, or "
	byOperator  = "Have the cluster's operator see to it: the image of the run's pods is Sluice's own."
)

// ofObstacles are what is to be done where pods don't start: what a Model's owner is told
// of spec.container is said here of what a Batch has.
var ofObstacles = map[string]string{
	obstacle.SecretMissing:         "Create the Secret, with the keys accessKeyID and secretAccessKey or, for Kafka, username and password," + inNamespace,
	obstacle.ConfigMapMissing:      "Create the ConfigMap, with the key that spec.input.configMap names," + inNamespace,
	obstacle.VolumeClaimMissing:    "Create the PersistentVolumeClaim" + inNamespace,
	obstacle.VolumeClaimPending:    "See why the PersistentVolumeClaim isn't bound (kubectl describe pvc): its StorageClass has to exist, and to have room.",
	obstacle.VolumeNotMounted:      "Correct what spec.input or spec.output names; a volume for pods on several nodes has to be ReadWriteMany. Or have the cluster's operator see to its storage.",
	obstacle.ServiceAccountMissing: "Create the ServiceAccount in the Batch's namespace; spec.serviceAccountName can't be corrected once the run has begun, but in another Batch.",
	obstacle.QuotaExceeded:         askForLess + "have the namespace's ResourceQuota raised.",
	obstacle.ResourcesUnset:        "The namespace's ResourceQuota wants each container to say what it takes: set what it names in spec.resources.",
	obstacle.OutOfLimitRange:       "Ask in spec.resources for what the namespace's LimitRange allows, or have that changed.",
	obstacle.PodSecurityViolation:  "Have the rule changed that refuses it: the run's pods keep to level restricted.",
	obstacle.PodRefused:            "Have the rule changed that refuses it.",
	obstacle.InsufficientResources: askForLess + "add nodes.",
	obstacle.NoNodeFits:            "Add nodes that fit: the run's pods ask for none in particular, and tolerate no taint.",
	obstacle.PodTurnedAway:         "It is tried again on its own. If it goes on, have the cluster's operator see to the node, or ask for less in spec.resources.",
	obstacle.OOMKilled:             remedies[oomKilled],
	obstacle.ContainerExited:       remedies[reasonWorkerFailed],
}

// remedyOf is what is to be done about what keeps pods from starting.
func remedyOf(o *obstacle.Obstacle) string {
	if own, ok := ofObstacles[o.Reason]; ok {
		return own
	}
	if strings.HasPrefix(o.Reason, "Image") || o.Reason == obstacle.RegistryUnreachable || o.Reason == obstacle.ContainerCannotStart || o.Reason == obstacle.RunsAsRoot {
		return byOperator
	}
	return inWords(&obstacle.Obstacle{Message: o.Remedy}).Message
}
