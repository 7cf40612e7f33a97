package obstacle

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) metav1.Time {
	return metav1.NewTime(noon.Add(time.Duration(seconds) * time.Second))
}

// pod is a replica as a kubelet makes it, with a model and Knative's queue-proxy.
func pod(changes ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "search", Name: "r-1", CreationTimestamp: at(0)},
		Status: corev1.PodStatus{
			Phase: corev1.PodPending,
			Conditions: []corev1.PodCondition{
				{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: at(0)},
				{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "ContainersNotReady", LastTransitionTime: at(0)},
			},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "queue-proxy"}, {Name: "user-container"}},
		},
	}
	for i := range p.Status.ContainerStatuses {
		p.Status.ContainerStatuses[i].State.Waiting = &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
	}
	for _, change := range changes {
		change(p)
	}
	return p
}

// state sets that of the model's container, beside a queue-proxy that runs.
func state(restarts int32, now, last corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{
			{Name: "queue-proxy", State: running(1)},
			{Name: "user-container", State: now, LastTerminationState: last, RestartCount: restarts, Ready: now.Running != nil},
		}
	}
}

func running(since int) corev1.ContainerState {
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at(since)}}
}

func waits(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

// ended is a container that ended two seconds after it began.
func ended(code int32, reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, Message: message, StartedAt: at(2), FinishedAt: at(4),
	}}
}

var none corev1.ContainerState

func waiting(reason, message string) func(*corev1.Pod) { return state(0, waits(reason, message), none) }

func nowhereFor(message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = nil
		p.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: message, LastTransitionTime: at(0),
		}}
	}
}

// initialized sets the state of an init container, for which the others wait.
func initialized(ready bool, restarts int32, now, last corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.InitContainerStatuses = []corev1.ContainerStatus{{
			Name: "fetch-weights", Ready: ready, RestartCount: restarts, State: now, LastTerminationState: last,
		}}
		for i := range p.Status.ContainerStatuses {
			p.Status.ContainerStatuses[i].State = waits("PodInitializing", "")
		}
	}
}

func event(after int, kind, reason, container, message string) corev1.Event {
	e := corev1.Event{Type: kind, Reason: reason, Message: message, LastTimestamp: at(after)}
	if container != "" {
		e.InvolvedObject.FieldPath = "spec.containers{" + container + "}"
	}
	return e
}

const (
	crashLoop = "back-off 10s restarting failed container=user-container pod=r-1_search(0)"
	pull      = `failed to pull and unpack image "registry.example/ranker:2": failed to resolve reference "registry.example/ranker:2": `
	runc      = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: " +
		"unable to start container process: error during container init: "
)

// Each row is what Kubernetes 1.36, containerd and Knative 1.21 show of one mistake, and
// what is told of it.
func TestOf(t *testing.T) {
	warning, normal := corev1.EventTypeWarning, corev1.EventTypeNormal
	runs := state(0, running(2), none)
	closed := &Answer{Container: "user-container", Question: "GET /ready at port 8080", Port: 8080, Closed: true}
	answers := func(status int) *Answer {
		return &Answer{Container: "user-container", Question: "GET /ready at port 8080", Port: 8080, Status: status}
	}
	inTrouble := `MountVolume.SetUp failed for volume "weights" : `
	for name, test := range map[string]struct {
		seen Seen
		// reason and container that are told, and parts of what else is.
		reason, container string
		parts             []string
		mayPass           bool
	}{
		"a Secret in env":       {replicas(pod(waiting("CreateContainerConfigError", `secret "token" not found`))), SecretMissing, "user-container", []string{`secret "token" not found.`, "Create the Secret"}, false},
		"a key of a Secret":     {replicas(pod(waiting("CreateContainerConfigError", "couldn't find key password in Secret search/token"))), SecretMissing, "user-container", []string{"key password", "with the key that is asked for"}, false},
		"a ConfigMap in env":    {replicas(pod(waiting("CreateContainerConfigError", `configmap "flags" not found`))), ConfigMapMissing, "user-container", []string{`configmap "flags"`, "Create the ConfigMap"}, false},
		"a key of a ConfigMap":  {replicas(pod(waiting("CreateContainerConfigError", "couldn't find key a in ConfigMap search/flags"))), ConfigMapMissing, "user-container", nil, false},
		"a Secret of a volume":  {asked(pod(), event(1, warning, "FailedMount", "", inTrouble+`secret "weights" not found`)), SecretMissing, "", []string{"replica r-1 can't be mounted", `secret "weights" not found.`}, false},
		"a ConfigMap of one":    {asked(pod(), event(1, warning, "FailedMount", "", inTrouble+`configmap "weights" not found`)), ConfigMapMissing, "", nil, false},
		"a key of a volume":     {asked(pod(), event(1, warning, "FailedMount", "", inTrouble+`references non-existent secret key: bin`)), SecretMissing, "", nil, false},
		"a volume":              {asked(pod(), event(1, warning, "FailedMount", "", inTrouble+"mount failed: exit status 32")), VolumeNotMounted, "", []string{"exit status 32", "spec.volumes"}, false},
		"a disk elsewhere":      {asked(pod(), event(1, warning, "FailedAttachVolume", "", "Multi-Attach error for volume")), VolumeNotMounted, "", nil, false},
		"mounted since":         {asked(pod(), event(1, warning, "FailedMount", "", inTrouble+`secret "weights" not found`), event(2, normal, "Pulling", "user-container", "Pulling image")), "", "", nil, false},
		"no network":            {asked(pod(), event(1, warning, "FailedCreatePodSandBox", "", "Failed to create pod sandbox: plugin type=bridge failed")), PodSandboxFailed, "", []string{"the cluster's operator"}, false},
		"a claim that is there": {replicas(pod(nowhereFor("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."))), VolumeClaimPending, "", []string{"StorageClass"}, false},
		"a claim that isn't":    {replicas(pod(nowhereFor(`0/1 nodes are available: persistentvolumeclaim "weights" not found.`))), VolumeClaimMissing, "", []string{"spec.volumes"}, false},

		"an image":              {replicas(pod(waiting("ErrImagePull", "rpc error: code = NotFound desc = "+pull+"registry.example/ranker:2: not found"))), ImageMissing, "user-container", []string{"gets no image: failed to pull", "spec.container.image"}, false},
		"an image, later":       {replicas(pod(waiting("ImagePullBackOff", `Back-off pulling image "registry.example/ranker:2": ErrImagePull: rpc error: code = NotFound desc = `+pull+"not found"))), ImageMissing, "user-container", []string{"gets no image: failed to pull"}, false},
		"a digest":              {replicas(pod(waiting("ErrImagePull", `rpc error: code = NotFound desc = failed to pull and unpack image "r/m@sha256:4040": failed to resolve reference: r/m@sha256:4040: not found`))), ImageMissing, "user-container", []string{"tag or digest"}, false},
		"an image of Knative's": {Seen{Refusal: Refusal{"ContainerMissing", `Unable to fetch image "r/m:1": failed to resolve image to digest: GET http://r/v2/m/manifests/1: MANIFEST_UNKNOWN: Unknown manifest`}}, ImageMissing, "", []string{"MANIFEST_UNKNOWN"}, false},
		"a user of Knative's":   {Seen{Refusal: Refusal{"ContainerMissing", `Unable to fetch image "r/m:1": failed to resolve image to digest: HEAD http://r/v2/m/manifests/1: unexpected status code 401 Unauthorized`}}, ImageAccessDenied, "", []string{"spec.imagePullSecrets"}, false},
		"a registry of nobody":  {Seen{Refusal: Refusal{"ContainerMissing", `Unable to fetch image "r/m:1": failed to resolve image to digest: Get "https://r/v2/": dial tcp: lookup r on 10.96.0.10:53: no such host`}}, RegistryUnreachable, "", nil, false},
		"a registry in front":   {replicas(pod(waiting("ErrImagePull", "rpc error: code = Unknown desc = "+pull+"unexpected status from HEAD request to http://r/v2/m/manifests/2: 503 Service Unavailable"))), RegistryUnreachable, "user-container", nil, false},
		"a refused user":        {replicas(pod(waiting("ErrImagePull", "rpc error: code = Unknown desc = "+pull+"pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials"))), ImageAccessDenied, "user-container", []string{"dockerconfigjson"}, false},
		"a name of none":        {replicas(pod(waiting("InvalidImageName", `Failed to apply default image tag "A b": couldn't parse image name "A b": invalid reference format`))), ImageNameInvalid, "user-container", nil, false},
		"another platform":      {replicas(pod(waiting("ErrImagePull", "rpc error: code = NotFound desc = "+pull+"no match for platform in manifest: not found"))), ImageForOtherPlatform, "user-container", nil, false},
		"never pulled":          {replicas(pod(waiting("ErrImageNeverPull", `Container image "r/m:1" is not present with pull policy of Never`))), ImageMissing, "user-container", []string{"imagePullPolicy"}, false},
		"no details":            {replicas(pod(waiting("ImagePullBackOff", `Back-off pulling image "r/m:1"`))), ImagePullFailed, "user-container", nil, false},
		"details by an event":   {asked(pod(waiting("ImagePullBackOff", `Back-off pulling image "r/m:1"`)), event(3, warning, "Failed", "user-container", `Failed to pull image "r/m:1": rpc error: code = NotFound desc = r/m:1: not found`)), ImageMissing, "user-container", nil, false},

		"root":                    {replicas(pod(waiting("CreateContainerConfigError", `container has runAsNonRoot and image will run as root (pod: "r-1_search", container: user-container)`))), RunsAsRoot, "user-container", []string{"runAsUser"}, false},
		"root, asked for":         {replicas(pod(waiting("CreateContainerConfigError", `container's runAsUser breaks non-root policy (pod: "r-1_search", container: user-container)`))), RunsAsRoot, "user-container", nil, false},
		"a path of a volume":      {replicas(pod(waiting("CreateContainerConfigError", `failed to prepare subPath for volumeMount "weights"`))), ContainerCannotStart, "user-container", nil, false},
		"a command that isn't":    {replicas(pod(state(0, ended(128, "StartError", runc+`exec: "serve": executable file not found in $PATH: unknown`), none))), ContainerCannotStart, "user-container", []string{`can't be started: exec: "serve": executable file not found`, "has to be in the image"}, true},
		"still isn't":             {replicas(pod(state(2, waits("CrashLoopBackOff", crashLoop), ended(128, "StartError", runc+`exec: "serve": executable file not found in $PATH: unknown`)))), ContainerCannotStart, "user-container", nil, false},
		"memory":                  {replicas(pod(state(1, waits("CrashLoopBackOff", crashLoop), ended(137, "OOMKilled", "")))), OOMKilled, "user-container", []string{"for lack of memory, with exit code 137.", "Raise its memory"}, true},
		"an end":                  {replicas(pod(state(0, ended(3, "Error", "loading weights\nno such weights: v7\n"), none))), ContainerExited, "user-container", []string{"user-container of replica r-1 ended with exit code 3: loading weights | no such weights: v7.", "kubectl logs -n search r-1 -c user-container --previous"}, true},
		"ends":                    {replicas(pod(state(2, waits("CrashLoopBackOff", crashLoop), ended(1, "Error", "")))), ContainerExited, "user-container", []string{"ended with exit code 1."}, false},
		"and runs for a while":    {replicas(pod(state(2, running(20), ended(1, "Error", "")))), ContainerExited, "user-container", nil, false},
		"and runs for longer":     {replicas(pod(state(2, running(1), ended(1, "Error", "")))), "", "", nil, false},
		"a job":                   {replicas(pod(state(3, waits("CrashLoopBackOff", crashLoop), ended(0, "Completed", "")))), ContainerExited, "user-container", []string{"exit code 0", "in the foreground"}, false},
		"an init container":       {replicas(pod(initialized(false, 2, waits("CrashLoopBackOff", crashLoop), ended(6, "Error", "curl: (6) Could not resolve host")))), ContainerExited, "fetch-weights", []string{"Container fetch-weights", "Could not resolve host"}, false},
		"one that has ended well": {replicas(pod(initialized(true, 1, ended(0, "Completed", ""), ended(6, "Error", "")))), "", "", nil, false},
		"killed by its probe": {asked(pod(state(2, waits("CrashLoopBackOff", crashLoop), ended(137, "Error", ""))), event(9, warning, "Unhealthy", "user-container", "Liveness probe failed: HTTP probe failed with statuscode: 404")),
			LivenessProbeFailed, "user-container", []string{"livenessProbe"}, false},
		"killed by whom": {replicas(pod(state(2, waits("CrashLoopBackOff", crashLoop), ended(137, "Error", "")))), ContainerExited, "user-container", []string{"Something killed it"}, false},
		"killed once": {asked(pod(state(1, running(20), ended(137, "Error", ""))), event(9, warning, "Unhealthy", "user-container", "Liveness probe failed: HTTP probe failed with statuscode: 404")),
			LivenessProbeFailed, "user-container", []string{"statuscode: 404; it is killed", "spec.container.livenessProbe"}, true},
		"an event of others": {asked(pod(runs), event(5, warning, "Unhealthy", "queue-proxy", "Readiness probe failed: HTTP probe failed with statuscode: 503")), "", "", nil, false},
		"a command that asks": {asked(pod(runs), event(5, warning, "Unhealthy", "user-container", "Readiness probe failed: cat: /ready: No such file")),
			ReadinessProbeFailed, "user-container", []string{"No such file.", "spec.container.readinessProbe", "progress deadline"}, true},
		"a slow start": {asked(pod(runs), event(5, warning, "Unhealthy", "user-container", "Startup probe failed: dial tcp 10.0.0.1:8080: connect: connection refused")), StartupProbeFailed, "user-container", []string{"startupProbe"}, true},

		"a port of nobody":         {answered(pod(runs), closed), NotListening, "user-container", []string{"nothing listens at port 8080", "spec.container.ports"}, true},
		"a path of nobody":         {answered(pod(runs), answers(404)), ReadinessProbeFailed, "user-container", []string{"GET /ready at port 8080, with status 404.", "from 200 to 399"}, true},
		"no answer":                {answered(pod(runs), &Answer{Container: "user-container", Question: "GET /ready at port 8080", Failure: "no answer within 1s"}), ReadinessProbeFailed, "user-container", []string{"no answer within 1s."}, true},
		"an answer by something":   {answered(pod(runs), &Answer{Container: "user-container", Question: "a connection to port 8080", Port: 8080, Open: true}), ReadinessProbeFailed, "user-container", []string{"listens, and its readiness probe, a connection to port 8080, doesn't pass"}, true},
		"no way there":             {answered(pod(runs), &Answer{Container: "user-container", Question: "GET / at port 8080", Port: 8080}), ReadinessProbeFailed, "user-container", []string{"runs, and its readiness probe, GET / at port 8080, doesn't pass"}, true},
		"the right answer":         {answered(pod(runs), answers(200)), "", "", nil, false},
		"asked before it ran":      {answered(pod(), closed), "", "", nil, false},
		"asked of one that serves": {answered(pod(runs, serves), closed), "", "", nil, false},

		"a quota":                {refusal(`exceeded quota: pods, requested: pods=1, used: pods=2, limited: pods=2`), QuotaExceeded, "", []string{"No replica can be made: exceeded quota: pods", "ResourceQuota raised"}, false},
		"a quota on limits":      {refusal(`failed quota: limits: must specify limits.cpu for: queue-proxy,user-container; limits.memory for: queue-proxy,user-container`), ResourcesUnset, "", []string{"config-deployment"}, false},
		"a LimitRange's least":   {refusal(`minimum cpu usage per Container is 100m, but request is 25m`), OutOfLimitRange, "", []string{"LimitRange"}, false},
		"a LimitRange's most":    {refusal(`[maximum memory usage per Container is 1Gi, but limit is 2Gi, maximum cpu usage per Pod is 1, but limit is 2]`), OutOfLimitRange, "", nil, false},
		"Pod Security":           {refusal(`violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "user-container" must set securityContext.allowPrivilegeEscalation=false)`), PodSecurityViolation, "", []string{"spec.container.securityContext"}, false},
		"a ServiceAccount":       {refusal(`error looking up service account search/ranker: serviceaccount "ranker" not found`), ServiceAccountMissing, "", []string{"spec.serviceAccountName"}, false},
		"a class":                {refusal(`no PriorityClass with name urgent was found`), PodRefused, "", nil, false},
		"a policy":               {Seen{Refusal: Refusal{"FailedCreate", `admission webhook "policy.example.com" denied the request: no latest tag`}}, PodRefused, "", []string{"No replica can be made: admission webhook"}, false},
		"what isn't a cause":     {Seen{Refusal: Refusal{"ProgressDeadlineExceeded", "Initial scale was never achieved"}}, "", "", nil, false},
		"what makes replicas":    {Seen{Asked: &Asked{Events: []corev1.Event{event(1, warning, "InternalError", "", `failed to create deployment "r": deployments.apps "r" is forbidden: exceeded quota: d`)}}}, QuotaExceeded, "", nil, false},
		"no autoscaler":          {unscaledBy(notMade+`admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed: invalid value: x: metadata.annotations.autoscaling.knative.dev/metric-aggregation-algorithm`, pod(runs, serves)), AutoscalingRefused, "", []string{"metric-aggregation-algorithm.", "spec.autoscaling"}, false},
		"none, by a quota":       {unscaledBy(notMade + `podautoscalers.autoscaling.internal.knative.dev "r" is forbidden: exceeded quota: a, requested: count/podautoscalers=1`), AutoscalingRefused, "", []string{"ResourceQuota raised"}, false},
		"none for now":           {unscaledBy(notMade+`Internal error occurred: failed calling webhook`, pod(runs, serves)), "", "", nil, false},
		"one by now":             {Seen{Asked: &Asked{Events: []corev1.Event{event(1, warning, "InternalError", "", notMade+`podautoscalers "r" is forbidden: no`)}}}, "", "", nil, false},
		"a quota it had once":    {Seen{Pods: []*corev1.Pod{pod(runs, serves)}, Asked: &Asked{Events: []corev1.Event{event(1, warning, "InternalError", "", `failed to create deployment "r": deployments.apps "r" is forbidden: exceeded quota: d`)}}}, "", "", nil, false},
		"no room":                {replicas(pod(nowhereFor("0/3 nodes are available: 1 Insufficient memory, 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."))), InsufficientResources, "", []string{"No node takes a replica: 0/3 nodes are available: 1 Insufficient memory, 3 Insufficient cpu.", "add nodes"}, false},
		"no device":              {replicas(pod(nowhereFor("0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 Insufficient cpu."))), InsufficientDevices, "", []string{"device plugin"}, false},
		"no claim for a device":  {replicas(pod(nowhereFor("0/1 nodes are available: 1 cannot allocate all claims."))), InsufficientDevices, "", nil, false},
		"no such node":           {replicas(pod(nowhereFor("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."))), NoNodeFits, "", []string{"spec.nodeSelector"}, false},
		"nothing that is known":  {replicas(pod(nowhereFor("0/1 nodes are available: 1 node(s) had a bad day."))), Unschedulable, "", nil, false},
		"turned away":            {replicas(pod(rejected)), PodTurnedAway, "", []string{"UnexpectedAdmissionError: Allocate failed"}, false},
		"turned away, and again": {replicas(pod(rejected), pod(func(p *corev1.Pod) { p.Name = "r-2" })), "", "", nil, false},

		"a pod that starts":         {replicas(pod()), "", "", nil, false},
		"one that serves":           {replicas(pod(waiting("ErrImagePull", "not found"), serves)), "", "", nil, false},
		"one that goes":             {replicas(pod(waiting("ErrImagePull", "not found"), func(p *corev1.Pod) { p.DeletionTimestamp = ptr(at(1)) })), "", "", nil, false},
		"nothing":                   {Seen{}, "", "", nil, false},
		"the older of two":          {replicas(pod(waiting("ErrImagePull", "not found"), func(p *corev1.Pod) { p.CreationTimestamp = at(9) }), pod(nowhereFor("1 Insufficient cpu"))), InsufficientResources, "", nil, false},
		"the more certain of two":   {replicas(pod(state(0, ended(1, "Error", ""), none)), pod(waiting("ErrImagePull", "not found"), func(p *corev1.Pod) { p.Name = "r-2" })), ImageMissing, "user-container", nil, false},
		"one that serves and a bad": {replicas(pod(runs, serves), pod(waiting("ErrImagePull", "not found"), func(p *corev1.Pod) { p.Name = "r-2" })), ImageMissing, "user-container", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := Of(test.seen, noon.Add(30*time.Second))
			if got == nil {
				got = &Obstacle{}
			}
			if got.Reason != test.reason || got.Container != test.container || got.MayPass != test.mayPass {
				t.Fatalf("got %+v, want %s of %q, may pass: %t", got, test.reason, test.container, test.mayPass)
			}
			for _, part := range test.parts {
				if text := got.Message + " " + got.Remedy; !strings.Contains(text, part) {
					t.Errorf("%q doesn't say %q", text, part)
				}
			}
			if got.Reason != "" && (got.Message == "" || !strings.HasSuffix(got.Message, ".") || !strings.HasSuffix(got.Remedy, ".") || strings.Contains(got.Message, "..")) {
				t.Errorf("no sentences: %q, %q", got.Message, got.Remedy)
			}
		})
	}
}

func replicas(pods ...*corev1.Pod) Seen { return Seen{Pods: pods} }

func asked(p *corev1.Pod, events ...corev1.Event) Seen {
	return Seen{Pods: []*corev1.Pod{p}, Asked: &Asked{Pod: p.Name, Events: events}}
}

func answered(p *corev1.Pod, answer *Answer) Seen {
	return Seen{Pods: []*corev1.Pod{p}, Asked: &Asked{Pod: p.Name, Answer: answer}}
}

const notMade = `failed to create PA "r": `

// unscaledBy is a revision that has no PodAutoscaler, by what Knative said last.
func unscaledBy(failure string, pods ...*corev1.Pod) Seen {
	return Seen{Pods: pods, Unscaled: true, Asked: &Asked{Events: []corev1.Event{
		event(1, corev1.EventTypeWarning, "InternalError", "", "an error of before, forbidden"), event(2, corev1.EventTypeWarning, "InternalError", "", failure),
	}}}
}

// What Knative fails to do for a revision that serves, it tells by an event, which is good
// for what changed before it.
func TestFailure(t *testing.T) {
	const denied = `failed to update PA "r": admission webhook "x" denied the request: no`
	for name, c := range map[string]struct {
		asked   *Asked
		message string
		refused bool
	}{
		"not asked":       {nil, "", false},
		"nothing":         {&Asked{}, "", false},
		"refused":         {&Asked{Events: []corev1.Event{event(11, corev1.EventTypeWarning, "InternalError", "", denied)}}, denied + ".", true},
		"at that second":  {&Asked{Events: []corev1.Event{event(10, corev1.EventTypeWarning, "InternalError", "", denied)}}, denied + ".", true},
		"before":          {&Asked{Events: []corev1.Event{event(9, corev1.EventTypeWarning, "InternalError", "", denied)}}, "", false},
		"of another kind": {&Asked{Events: []corev1.Event{event(11, corev1.EventTypeNormal, "InternalError", "", denied), event(11, corev1.EventTypeWarning, "BackOff", "", denied)}}, "", false},
		"and not since":   {&Asked{Events: []corev1.Event{event(11, corev1.EventTypeWarning, "InternalError", "", denied), event(12, corev1.EventTypeWarning, "InternalError", "", "no connection")}}, "no connection.", false},
		"by a policy":     {&Asked{Events: []corev1.Event{event(11, corev1.EventTypeWarning, "InternalError", "", `podautoscalers "r" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no`)}}, `podautoscalers "r" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no.`, true},
	} {
		message, refused := c.asked.Failure(at(10).Time)
		if message != c.message || refused != c.refused {
			t.Errorf("%s: %q, refused: %t", name, message, refused)
		}
	}
}

func refusal(message string) Seen {
	return Seen{Refusal: Refusal{"FailedCreate", `pods "r-1-deployment-abc-def" is forbidden: ` + message}}
}

func serves(p *corev1.Pod) {
	p.Status.Conditions[1] = corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue}
}

func rejected(p *corev1.Pod) {
	p.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "UnexpectedAdmissionError", Message: "Allocate failed due to no healthy devices present"}
}

func ptr[T any](v T) *T { return &v }

// What others wrote is bounded, whatever it is.
func TestMessagesAreBounded(t *testing.T) {
	long := strings.Repeat("é is no é\n", 1000)
	for name, seen := range map[string]Seen{
		"an end":   replicas(pod(state(2, waits("CrashLoopBackOff", ""), ended(1, "Error", long+"the last line")))),
		"one line": replicas(pod(state(2, waits("CrashLoopBackOff", ""), ended(1, "Error", strings.Repeat("é", 5000))))),
		"a pull":   replicas(pod(waiting("ErrImagePull", long))),
		"no node":  replicas(pod(nowhereFor(long))),
		"refused":  refusal(long),
		"an event": asked(pod(), event(1, corev1.EventTypeWarning, "FailedMount", "", long)),
	} {
		got := Of(seen, noon)
		if got == nil || len(got.Message) > longestMessage+200 || !utf8.ValidString(got.Message) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := Of(replicas(pod(state(2, waits("CrashLoopBackOff", ""), ended(1, "Error", long+"the last line")))), noon); !strings.HasSuffix(got.Message, "| the last line.") {
		t.Errorf("not the last lines: %q", got.Message)
	}
}

func TestStarts(t *testing.T) {
	for name, test := range map[string]struct {
		pod             *corev1.Pod
		since           int
		running, starts bool
	}{
		"made":   {pod(), 0, false, true},
		"runs":   {pod(state(0, running(7), none)), 7, true, true},
		"serves": {pod(state(0, running(7), none), serves), 0, false, false},
	} {
		since, running, starts := Starts(test.pod)
		if running != test.running || starts != test.starts || starts && !since.Equal(at(test.since).Time) {
			t.Errorf("%s: since %v, runs: %t, starts: %t", name, since, running, starts)
		}
	}
}
