package obstacle

import (
	"regexp"
	"strings"
)

// Reasons are those of obstacles. docs/conditions.md explains each.
const (
	SecretMissing         = "SecretMissing"
	ConfigMapMissing      = "ConfigMapMissing"
	VolumeClaimMissing    = "VolumeClaimMissing"
	VolumeClaimPending    = "VolumeClaimPending"
	VolumeNotMounted      = "VolumeNotMounted"
	ServiceAccountMissing = "ServiceAccountMissing"

	ImageMissing          = "ImageMissing"
	ImageForOtherPlatform = "ImageForOtherPlatform"
	ImageNameInvalid      = "ImageNameInvalid"
	ImageAccessDenied     = "ImageAccessDenied"
	RegistryUnreachable   = "RegistryUnreachable"
	ImagePullFailed       = "ImagePullFailed"

	RunsAsRoot           = "RunsAsRoot"
	ContainerCannotStart = "ContainerCannotStart"
	ContainerExited      = "ContainerExited"
	OOMKilled            = "OOMKilled"
	PodSandboxFailed     = "PodSandboxFailed"
	PodTurnedAway        = "PodTurnedAway"

	NotListening         = "NotListening"
	ReadinessProbeFailed = "ReadinessProbeFailed"
	StartupProbeFailed   = "StartupProbeFailed"
	LivenessProbeFailed  = "LivenessProbeFailed"

	QuotaExceeded        = "QuotaExceeded"
	ResourcesUnset       = "ResourcesUnset"
	OutOfLimitRange      = "OutOfLimitRange"
	PodSecurityViolation = "PodSecurityViolation"
	PodRefused           = "PodRefused"
	AutoscalingRefused   = "AutoscalingRefused"

	InsufficientResources = "InsufficientResources"
	InsufficientDevices   = "InsufficientDevices"
	NoNodeFits            = "NoNodeFits"
	Unschedulable         = "Unschedulable"
)

// meaning is what a message of Kubernetes means that says one of some things.
type meaning struct {
	says           *regexp.Regexp
	reason, remedy string
}

// says matches any of some texts, whatever their case.
func says(texts ...string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)` + strings.Join(texts, "|"))
}

// say is what a message means: the first meaning that it says, the last one if none.
func say(meanings []meaning, message string) Obstacle {
	found := meanings[len(meanings)-1]
	for _, m := range meanings {
		if m.says.MatchString(message) {
			found = m
			break
		}
	}
	return Obstacle{Reason: found.reason, Remedy: found.remedy, Message: sentence(message)}
}

// otherwise is what a message means that says nothing known.
var otherwise = regexp.MustCompile(``)

const (
	toReference = "in the Model's namespace, with the key that is asked for, or correct what names it in spec.container or spec.volumes."
	askForLess  = "Ask for less in spec.container.resources, or for fewer replicas in spec.autoscaling, or "
)

// referenced are what a pod is made from that isn't there.
var referenced = []meaning{
	{says(`secret "[^"]*" not found`, `\bin secret\b`, `non-existent secret`), SecretMissing, "Create the Secret " + toReference},
	{says(`configmap "[^"]*" not found`, `\bin configmap\b`, `non-existent config`), ConfigMapMissing, "Create the ConfigMap " + toReference},
	{says(`persistentvolumeclaim "[^"]*" (not found|is being deleted)`), VolumeClaimMissing,
		"Create the PersistentVolumeClaim in the Model's namespace, or correct what names it in spec.volumes."},
	{says(`unbound immediate persistentvolumeclaims`, `waiting for .*volume.* to be (created|bound)`, `persistentvolumeclaim .*(isn't|not) bound`), VolumeClaimPending,
		"See why the PersistentVolumeClaim isn't bound (kubectl describe pvc): its StorageClass has to exist, and to have room."},
}

var (
	cannotStart = []meaning{{otherwise, ContainerCannotStart,
		"Correct what it names in spec.container: its command has to be in the image, executable, and built for the node."}}

	configured = append(referenced[:len(referenced):len(referenced)],
		meaning{says(`runAsNonRoot`, `non-root policy`), RunsAsRoot,
			"Build the image with a numeric user that isn't 0, or set spec.container.securityContext.runAsUser."},
		cannotStart[0])

	mounted = append(referenced[:len(referenced):len(referenced)], meaning{otherwise, VolumeNotMounted,
		"Correct what it names in spec.volumes, or have the cluster's operator see to its storage."})

	turnedAway = []meaning{{otherwise, PodTurnedAway, "It is tried again on its own. If it goes on, " +
		"ask for less in spec.container.resources, or have the cluster's operator see to the node."}}

	sandbox = []meaning{{otherwise, PodSandboxFailed, "Have the cluster's operator see to the node, its network and its container runtime."}}
)

// pulled are what keeps an image away.
var pulled = []meaning{
	{says(`InvalidImageName`, `couldn't parse image`, `could not parse reference`, `invalid reference format`), ImageNameInvalid, "Correct spec.container.image."},
	{says(`no match for platform`, `no matching manifest for`, `no child with platform`), ImageForOtherPlatform, "Build the image for the platform of the nodes."},
	{says(`ErrImageNeverPull`), ImageMissing, "Have the image on the node, or unset spec.container.imagePullPolicy."},
	{says(`\b401\b`, `\b403\b`, `unauthorized`, `denied`, `authorization failed`, `authentication required`, `no basic auth credentials`), ImageAccessDenied,
		"Name a Secret of type kubernetes.io/dockerconfigjson that may pull it in spec.imagePullSecrets. Some registries answer so for an image that isn't there, too."},
	{says(`manifest unknown`, `MANIFEST_UNKNOWN`, `NAME_UNKNOWN`, `name unknown`, `\b404\b`, `not found`, `does not exist`), ImageMissing,
		"Push it, or correct spec.container.image: registry, name, and tag or digest."},
	{says(`dial tcp`, `no such host`, `timeout`, `timed out`, `deadline exceeded`, `connection re(fused|set)`, `unreachable`, `x509`, `tls:`, `EOF`,
		`\b50[0-9]\b`, `\b429\b`, `too ?many ?requests`, `HTTP response to HTTPS client`), RegistryUnreachable,
		"Correct the registry in spec.container.image, or have the cluster's operator see to the way there: Knative's controller and the nodes have to reach it and to trust its certificate."},
	{otherwise, ImagePullFailed, "Correct spec.container.image, or what keeps the node from it."},
}

// ofImage is why an image can't be had.
func ofImage(message string) Obstacle {
	o := say(pulled, message)
	// What comes before it is about who asked, and how often.
	for _, before := range []string{"ErrImagePull: ", "ImagePullBackOff: ", " desc = "} {
		if i := strings.LastIndex(message, before); i >= 0 && i+len(before) < len(message) {
			message = message[i+len(before):]
		}
	}
	o.Message = sentence(message)
	return o
}

// refused are why no pod is made.
var refused = []meaning{
	{says(`failed quota: .*must specify`), ResourcesUnset, "The namespace's ResourceQuota wants each container to say what it takes. " +
		"Set what it names in spec.container.resources; for queue-proxy by annotations queue.sidecar.serving.knative.dev/… of the Model (docs/models.md), or in Knative's ConfigMap config-deployment."},
	{says(`exceeded quota`), QuotaExceeded, askForLess + "have the namespace's ResourceQuota raised."},
	{says(`(minimum|maximum) \S+ usage per`, `limit to request ratio per`), OutOfLimitRange,
		"Ask in spec.container.resources for what the namespace's LimitRange allows, or have that changed."},
	{says(`violates PodSecurity`), PodSecurityViolation,
		"Set what it names in spec.container.securityContext, or have the namespace's label pod-security.kubernetes.io/enforce changed."},
	{says(`error looking up service account`, `serviceaccount "[^"]*" not found`), ServiceAccountMissing,
		"Create the ServiceAccount in the Model's namespace, or correct spec.serviceAccountName."},
	{otherwise, PodRefused, "Change what it names in the Model, or have the rule changed that refuses it."},
}

// unscaled are why Knative has nothing to scale a revision by.
var unscaled = []meaning{
	{says(`exceeded quota`), AutoscalingRefused, "Have the namespace's ResourceQuota raised: a revision needs one PodAutoscaler."},
	{otherwise, AutoscalingRefused, "Correct what it names in spec.autoscaling or in the Model's autoscaling.knative.dev annotations, " +
		"or have the rule changed that refuses it."},
}

// OfRefusal is why no replicas are made; nil where that isn't what a condition says.
func OfRefusal(r Refusal) *Obstacle {
	switch r.Reason {
	case "FailedCreate": // a ReplicaSet's, by its Deployment
		return ofRefused(r.Message)
	case "ContainerMissing": // Knative's, that asks a registry for a tag's digest
		o := ofImage(r.Message)
		return &o
	}
	return nil
}

func ofRefused(message string) *Obstacle {
	// The name changes with each try.
	if _, after, found := strings.Cut(message, " is forbidden: "); found && strings.HasPrefix(message, "pods ") {
		message = after
	}
	o := say(refused, message)
	o.Message = sentence("No replica can be made: " + message)
	return &o
}

// nowhere are why no node takes a pod.
var nowhere = append(referenced[:len(referenced):len(referenced)],
	// A device is named by the domain of who makes it.
	meaning{says(`insufficient \S+\.\S+/`, `resource ?claim`, `cannot allocate all claims`), InsufficientDevices,
		"Ask for fewer of them in spec.container.resources, or add nodes that offer them (by a device plugin)."},
	meaning{says(`insufficient \S+`, `too many pods`), InsufficientResources, askForLess + "add nodes."},
	meaning{says(`node affinity`, `node selector`, `untolerated taint`, `topology spread`, `affinity rules`, `were unschedulable`), NoNodeFits,
		"Correct what picks nodes in the Model (spec.nodeSelector, spec.tolerations, spec.affinity), or add nodes that fit."},
	meaning{otherwise, Unschedulable, "See what the scheduler says (kubectl describe pod)."},
)

// unscheduled is why a pod has no node.
func unscheduled(reason, message string) Obstacle {
	o := say(nowhere, message)
	if message == "" {
		o.Message = sentence(reason)
	}
	// What else was thought of doesn't help, and changes.
	if before, _, found := strings.Cut(o.Message, " preemption: "); found {
		o.Message = sentence(before)
	}
	o.Message = "No node takes a replica: " + o.Message
	return o
}
