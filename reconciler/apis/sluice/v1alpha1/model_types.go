package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/kmeta"
)

// Model is a served model: a container, how it scales, and what one replica of it
// can serve. Sluice gives it a URL, scales it from zero, and keeps its gateway's
// rate limit in step with its replicas.
//
// +genclient
// +genreconciler
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
// +kubebuilder:resource:shortName=mdl,categories=all;sluice
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.autoscaling.minReplicas,statuspath=.status.readyReplicas
// +kubebuilder:metadata:labels=duck.knative.dev/addressable=true
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.status.url`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Rollout",type=string,JSONPath=`.status.rollout.phase`
// +kubebuilder:printcolumn:name="Desired",type=integer,JSONPath=`.status.desiredReplicas`
// +kubebuilder:printcolumn:name="Replicas",type=integer,JSONPath=`.status.readyReplicas`
// +kubebuilder:printcolumn:name="Limit",type=string,JSONPath=`.status.limit.requestsPerSecond`
// +kubebuilder:printcolumn:name="Warm",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Warm")].message`
// +kubebuilder:printcolumn:name="Trial",type=string,priority=1,JSONPath=`.status.trial.phase`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Model struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   ModelSpec   `json:"spec"`
	Status ModelStatus `json:"status,omitempty"`
}

var (
	_ apis.Validatable   = (*Model)(nil)
	_ apis.Defaultable   = (*Model)(nil)
	_ kmeta.OwnerRefable = (*Model)(nil)
	_ duckv1.KRShaped    = (*Model)(nil)
	_ runtime.Object     = (*Model)(nil)
)

// ModelSpec is what the model team asks for. Autoscaling, Limit, Trial, Rollout, Traffic
// and SplitBy take effect on the live revisions, but for what status.nextRevision names;
// Objective concerns none; every other field makes a new one.
type ModelSpec struct {
	// Container serves the model. It may say what a Knative container may say.
	// The webhook checks it by Knative's own rules.
	Container corev1.Container `json:"container"`

	// Volumes the container may mount, of the kinds Knative allows.
	// +optional
	Volumes []corev1.Volume `json:"volumes,omitempty"`
	// ServiceAccountName is the identity of the model's pods.
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// ImagePullSecrets are used to pull the container's image.
	// +optional
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
	// NodeSelector picks nodes, for example those with accelerators. Knative
	// allows it where the feature kubernetes.podspec-nodeselector is enabled.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Tolerations let pods onto tainted nodes. Knative allows them where the
	// feature kubernetes.podspec-tolerations is enabled.
	// +optional
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	PodSettings `json:",inline"`

	// ContainerConcurrency is how many requests one replica may work on at once;
	// 0 means no bound. Knative's default where unset.
	// +optional
	ContainerConcurrency *int64 `json:"containerConcurrency,omitempty"`
	// TimeoutSeconds bounds a whole request, the wait for a replica included: Knative's
	// default where unset, 300 as it comes. The most is max-revision-timeout-seconds in
	// Knative's ConfigMap config-defaults, 600 as it comes.
	// +optional
	TimeoutSeconds *int64 `json:"timeoutSeconds,omitempty"`
	// ResponseStartTimeoutSeconds bounds the wait for the first byte of the answer, within
	// timeoutSeconds: Knative's default where unset, 300 as it comes. A model that answers
	// only after minutes needs both to be longer; of one that streams it is how
	// long the first token may take.
	// +optional
	ResponseStartTimeoutSeconds *int64 `json:"responseStartTimeoutSeconds,omitempty"`
	// IdleTimeoutSeconds bounds the silence within a request.
	// +optional
	IdleTimeoutSeconds *int64 `json:"idleTimeoutSeconds,omitempty"`

	// Autoscaling says how many replicas there are and when.
	// +optional
	Autoscaling AutoscalingSpec `json:"autoscaling,omitempty"`

	// Limit says what one replica can serve, from which the gateway's rate limit
	// follows.
	Limit LimitSpec `json:"limit"`

	// Trial holds other values of autoscaling and limit for a while.
	// +optional
	Trial *TrialSpec `json:"trial,omitempty"`

	// Objective is what callers are promised, by which alerts go. Without it there are none
	// of the Model's errors and latency.
	// +optional
	Objective *ObjectiveSpec `json:"objective,omitempty"`

	// WarmUp says how a replica is made ready for its first request.
	// +optional
	WarmUp *WarmUpSpec `json:"warmUp,omitempty"`
	// Rollout says how a new revision takes over.
	// +optional
	Rollout RolloutSpec `json:"rollout,omitempty"`
	// Traffic gives requests to chosen revisions: a share of all, or those to a host of
	// their own. The rollout has the rest.
	// +optional
	Traffic []TrafficTarget `json:"traffic,omitempty"`
	// SplitBy keeps each caller at one revision while requests are split. Where it is
	// unset, each request is split by chance.
	// +optional
	SplitBy *SplitKey `json:"splitBy,omitempty"`
}

// AutoscalingMetric is what the autoscaler counts.
// +kubebuilder:validation:Enum=concurrency;rps
type AutoscalingMetric string

const (
	// MetricConcurrency scales by requests in flight.
	MetricConcurrency AutoscalingMetric = "concurrency"
	// MetricRPS scales by requests per second.
	MetricRPS AutoscalingMetric = "rps"
)

// AutoscalingSpec becomes autoscaling.knative.dev annotations of the live
// revision. The same annotations on the Model itself win over it.
type AutoscalingSpec struct {
	// MinReplicas are kept without any demand; 0 (the default) scales to zero.
	// +optional
	MinReplicas *int32 `json:"minReplicas,omitempty"`
	// MaxReplicas bounds each revision; 0 (the default) means no bound.
	// +optional
	MaxReplicas *int32 `json:"maxReplicas,omitempty"`
	// InitialReplicas are started with a new revision, before any demand.
	// +optional
	InitialReplicas *int32 `json:"initialReplicas,omitempty"`
	// Metric is what Target counts.
	// +optional
	Metric AutoscalingMetric `json:"metric,omitempty"`
	// Target is the Metric's value that one replica should carry: requests in
	// flight, or requests per second. A fraction can be given by annotation.
	// +optional
	Target *int32 `json:"target,omitempty"`
	// TargetUtilization is the percentage of Target to aim for.
	// +optional
	TargetUtilization *int32 `json:"targetUtilization,omitempty"`
	// Window is the time over which demand is averaged: 6s to 1h.
	// +optional
	Window *metav1.Duration `json:"window,omitempty"`
	// ScaleDownDelay is how long lower demand must last before replicas go. A revision keeps
	// the one that it was made with.
	// +optional
	ScaleDownDelay *metav1.Duration `json:"scaleDownDelay,omitempty"`
	// ScaleToZeroRetention is how long the last replica stays after the last request.
	// +optional
	ScaleToZeroRetention *metav1.Duration `json:"scaleToZeroRetention,omitempty"`
	// TargetBurstCapacity is the burst, in requests, above which the activator
	// stays in the path: -1 always, 0 only at zero replicas.
	// +optional
	TargetBurstCapacity *int32 `json:"targetBurstCapacity,omitempty"`
}

// LimitPolicy is the rule by which a limit follows replicas.
// +kubebuilder:validation:Enum=Demand;Ready
type LimitPolicy string

const (
	// PolicyDemand admits some headroom above the capacity of the replicas while
	// more can still be had, so that the autoscaler sees the demand it has to
	// scale for, and exactly the capacity at maxReplicas.
	PolicyDemand LimitPolicy = "Demand"
	// PolicyReady admits exactly what the ready replicas can serve. It can keep
	// the autoscaler from ever scaling up: see docs/limits.md.
	PolicyReady LimitPolicy = "Ready"
)

// LimitSpec says what one replica can serve.
type LimitSpec struct {
	// RequestsPerSecondPerReplica is the rate one warm replica serves within its
	// latency goal: 0.00001, which is not quite one a day, to 1,000,000. A request that
	// takes 30 s of all of a replica is 0.0333. With metric rps it defaults to the target.
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	RequestsPerSecondPerReplica *resource.Quantity `json:"requestsPerSecondPerReplica,omitempty"`
	// Burst is the bucket's depth as a time of the limit's rate; 100ms by default,
	// and one request more.
	// +optional
	Burst *metav1.Duration `json:"burst,omitempty"`
	// Queue lets requests from inside the cluster wait where they come faster than
	// replicas serve them. Without it, what is above Burst is refused.
	// +optional
	Queue *QueueSpec `json:"queue,omitempty"`
	// Policy is the rule by which the limit follows replicas.
	// +optional
	Policy LimitPolicy `json:"policy,omitempty"`
	// HeadroomPercent is what policy Demand admits above the capacity while the
	// Model can still scale up; 100 by default.
	// +optional
	HeadroomPercent *int32 `json:"headroomPercent,omitempty"`
}

// QueueSpec says what may wait. It waits before the replicas, which work on
// containerConcurrency requests at a time, and so needs that.
type QueueSpec struct {
	// Wait is how long the last of those that wait has to, at most: as many may come at
	// once as replicas serve in that time. It is above 0s and below timeoutSeconds.
	Wait metav1.Duration `json:"wait"`
}

// ModelStatus is what was observed.
type ModelStatus struct {
	duckv1.Status `json:",inline"`

	// URL is where callers outside the cluster reach the Model, or those inside one that
	// is private.
	// +optional
	URL *apis.URL `json:"url,omitempty"`
	// Address is where callers inside the cluster reach it.
	// +optional
	Address *duckv1.Addressable `json:"address,omitempty"`
	// LatestReadyRevision is the newest revision that is ready.
	// +optional
	LatestReadyRevision string `json:"latestReadyRevision,omitempty"`
	// DesiredReplicas is the sum over the live revisions.
	DesiredReplicas int32 `json:"desiredReplicas"`
	// ReadyReplicas is the sum over the live revisions.
	ReadyReplicas int32 `json:"readyReplicas"`
	// Revisions has a row for each revision that gets traffic.
	// +optional
	Revisions []RevisionCapacity `json:"revisions,omitempty"`
	// Limit is the limit in force.
	// +optional
	Limit *LimitStatus `json:"limit,omitempty"`
	// WarmUp is how far the replicas are that are warmed up.
	// +optional
	WarmUp *WarmUpStatus `json:"warmUp,omitempty"`
	// Rollout is the one under way, or the last one.
	// +optional
	Rollout *RolloutStatus `json:"rollout,omitempty"`
	// Trial is the one that runs, or the last one.
	// +optional
	Trial *TrialStatus `json:"trial,omitempty"`
	// Obstacle is what keeps the newest revision from being ready, as far as it was seen.
	// +optional
	Obstacle *RevisionObstacle `json:"obstacle,omitempty"`
	// Floors has a row for each revision that is held at more replicas than the Model's
	// own minimum, or would be.
	// +optional
	Floors []RevisionFloor `json:"floors,omitempty"`
	// NextRevision are the autoscaling fields and annotations of the Model by which its newest
	// revision was not made and can't be scaled: Knative takes them up with the next one.
	// +optional
	NextRevision []string `json:"nextRevision,omitempty"`
	// MaxReplicas is the most replicas that its tenant's caps have let each of its
	// revisions have, 0 for no bound; unset where none is capped.
	// +optional
	MaxReplicas *int32 `json:"maxReplicas,omitempty"`
	// ServiceGeneration is the generation of the Knative Service that Sluice wrote
	// last. Any other one means that somebody else changed its spec; it is then
	// rebuilt.
	// +optional
	ServiceGeneration int64 `json:"serviceGeneration,omitempty"`
}

// RevisionFloor is the least number of replicas that a revision is held at beside the
// Model's own minimum, by what asks for it. The revision's min-scale is the highest of
// them all, within its max-scale.
type RevisionFloor struct {
	// RevisionName is its name.
	RevisionName string `json:"revisionName"`
	// Demand is what the demand at the gateways calls for, which the autoscaler can't see.
	// +optional
	Demand int32 `json:"demand,omitempty"`
	// Rollout is what the rollout keeps.
	// +optional
	Rollout int32 `json:"rollout,omitempty"`
}

// Replicas are what the revision is held at; 0 for none.
func (f RevisionFloor) Replicas() int32 { return max(f.Demand, f.Rollout) }

// Floor is what a revision was last held at.
func (s *ModelStatus) Floor(revision string) RevisionFloor {
	for _, f := range s.Floors {
		if f.RevisionName == revision {
			return f
		}
	}
	return RevisionFloor{RevisionName: revision}
}

// ModelList is a list of Models.
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type ModelList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []Model `json:"items"`
}
