package v1alpha1

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/pkg/apis"
	servingconfig "knative.dev/serving/pkg/apis/config"
	"knative.dev/serving/pkg/apis/serving"
)

// All that Knative lets a pod say, a Model can say; and nothing else but what it is known to
// refuse. A field that comes with another version of Knative is to be decided about.
func TestModelsSayWhatKnativeAllows(t *testing.T) {
	t.Parallel()
	all := &corev1.PodSpec{}
	fill(reflect.ValueOf(all).Elem())
	allowed := said(serving.PodSpecMask(withFeatures(servingconfig.Enabled), all))

	m := &ModelSpec{}
	fill(reflect.ValueOf(m).Elem())
	revision := m.RevisionSpec()
	sayable := said(&revision.PodSpec)
	if diff := cmp.Diff(allowed, slices.DeleteFunc(sayable, func(field string) bool { return field == "ResourceClaims" })); diff != "" {
		t.Error("Knative's mask (-), a Model (+):", diff)
	}
	if len(allowed) < 20 {
		t.Errorf("only %d fields found", len(allowed))
	}
}

// said are the fields of a pod that are there, sorted.
func said(pod *corev1.PodSpec) []string {
	var fields []string
	v := reflect.ValueOf(pod).Elem()
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			fields = append(fields, v.Type().Field(i).Name)
		}
	}
	slices.Sort(fields)
	return fields
}

// fill sets each field of a struct, and of those embedded, to something.
func fill(v reflect.Value) {
	for i := range v.NumField() {
		field := v.Field(i)
		switch field.Kind() {
		case reflect.Pointer:
			field.Set(reflect.New(field.Type().Elem()))
		case reflect.Slice:
			field.Set(reflect.MakeSlice(field.Type(), 1, 1))
		case reflect.Map:
			field.Set(reflect.MakeMap(field.Type()))
		case reflect.String:
			field.SetString("x")
		case reflect.Bool:
			field.SetBool(true)
		case reflect.Struct:
			if v.Type().Field(i).Anonymous {
				fill(field)
			}
		}
	}
}

func withFeatures(flag servingconfig.Flag) context.Context {
	features := &servingconfig.Features{}
	v := reflect.ValueOf(features).Elem()
	for i := range v.NumField() {
		v.Field(i).SetString(string(flag))
	}
	features.SecurePodDefaults = servingconfig.Disabled // it refuses nothing
	return servingconfig.ToContext(context.Background(), &servingconfig.Config{Features: features})
}

func mounted(source corev1.VolumeSource) func(*Model) {
	return func(m *Model) {
		m.Spec.Volumes = []corev1.Volume{{Name: "x", VolumeSource: source}}
		m.Spec.Container.VolumeMounts = []corev1.VolumeMount{{Name: "x", MountPath: "/x", ReadOnly: true}}
	}
}

func sidecar(changes ...func(*corev1.Container)) func(*Model) {
	return func(m *Model) {
		c := corev1.Container{Image: "registry.example/sidecar:1"}
		for _, change := range changes {
			change(&c)
		}
		m.Spec.Sidecars = append(m.Spec.Sidecars, c)
	}
}

func initial(m *Model) {
	m.Spec.InitContainers = []corev1.Container{{Image: "registry.example/fetch:1"}}
}

// Each of Knative's features: what it allows is refused by its name where it is off, and
// let in where it is on.
func TestFeaturesAreNamed(t *testing.T) {
	t.Parallel()
	propagation := corev1.MountPropagationNone
	env := func(source corev1.EnvVarSource) func(*Model) {
		return func(m *Model) { m.Spec.Container.Env = []corev1.EnvVar{{Name: "X", ValueFrom: &source}} }
	}
	cases := map[string]struct {
		flag, path string
		change     func(*Model)
	}{
		"MultiContainer": {"multi-container", "spec.sidecars", sidecar()},
		"MultiContainerProbing": {"multi-container-probing", "spec.sidecars[0].livenessProbe", sidecar(func(c *corev1.Container) {
			c.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(9)}}}
		})},
		"PodSpecAffinity":                  {"kubernetes.podspec-affinity", "spec.affinity", func(m *Model) { m.Spec.Affinity = &corev1.Affinity{} }},
		"PodSpecTopologySpreadConstraints": {"kubernetes.podspec-topologyspreadconstraints", "spec.topologySpreadConstraints", func(m *Model) { m.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{}} }},
		"PodSpecFieldRef":                  {"kubernetes.podspec-fieldref", "spec.container.env[0].valueFrom.fieldRef", env(corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}})},
		"PodSpecHostAliases":               {"kubernetes.podspec-hostaliases", "spec.hostAliases", func(m *Model) { m.Spec.HostAliases = []corev1.HostAlias{{IP: "192.0.2.1"}} }},
		"PodSpecNodeSelector":              {"kubernetes.podspec-nodeselector", "spec.nodeSelector", func(m *Model) { m.Spec.NodeSelector = map[string]string{"gpu": "yes"} }},
		"PodSpecRuntimeClassName":          {"kubernetes.podspec-runtimeclassname", "spec.runtimeClassName", func(m *Model) { m.Spec.RuntimeClassName = ptr("nvidia") }},
		"PodSpecSecurityContext":           {"kubernetes.podspec-securitycontext", "spec.securityContext.fsGroup", func(m *Model) { m.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr(int64(1))} }},
		"PodSpecShareProcessNamespace":     {"kubernetes.podspec-shareprocessnamespace", "spec.shareProcessNamespace", func(m *Model) { m.Spec.ShareProcessNamespace = ptr(true) }},
		"PodSpecHostIPC":                   {"kubernetes.podspec-hostipc", "spec.hostIPC", func(m *Model) { m.Spec.HostIPC = true }},
		"PodSpecHostPID":                   {"kubernetes.podspec-hostpid", "spec.hostPID", func(m *Model) { m.Spec.HostPID = true }},
		"PodSpecHostNetwork":               {"kubernetes.podspec-hostnetwork", "spec.hostNetwork", func(m *Model) { m.Spec.HostNetwork = true }},
		"PodSpecPriorityClassName":         {"kubernetes.podspec-priorityclassname", "spec.priorityClassName", func(m *Model) { m.Spec.PriorityClassName = "high" }},
		"PodSpecSchedulerName":             {"kubernetes.podspec-schedulername", "spec.schedulerName", func(m *Model) { m.Spec.SchedulerName = "gang" }},
		"ContainerSpecAddCapabilities": {"kubernetes.containerspec-addcapabilities", "spec.container.securityContext.capabilities.add", func(m *Model) {
			m.Spec.Container.SecurityContext = &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"IPC_LOCK"}}}
		}},
		"PodSpecTolerations":     {"kubernetes.podspec-tolerations", "spec.tolerations", func(m *Model) { m.Spec.Tolerations = []corev1.Toleration{{Key: "gpu"}} }},
		"PodSpecVolumesEmptyDir": {"kubernetes.podspec-volumes-emptydir", "spec.volumes", mounted(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})},
		"PodSpecVolumesHostPath": {"kubernetes.podspec-volumes-hostpath", "spec.volumes", mounted(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/x"}})},
		"PodSpecVolumesMountPropagation": {"kubernetes.podspec-volumes-mount-propagation", "spec.container.volumeMounts[0].mountPropagation", func(m *Model) {
			mounted(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "x"}})(m)
			m.Spec.Container.VolumeMounts[0].MountPropagation = &propagation
		}},
		"PodSpecVolumesCSI":            {"kubernetes.podspec-volumes-csi", "spec.volumes", mounted(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "x"}})},
		"PodSpecVolumesEphemeral":      {"kubernetes.podspec-volumes-ephemeral", "spec.volumes", mounted(corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}})},
		"PodSpecVolumesImage":          {"kubernetes.podspec-volumes-image", "spec.volumes", mounted(corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "registry.example/weights:1"}})},
		"PodSpecPersistentVolumeClaim": {"kubernetes.podspec-persistent-volume-claim", "spec.volumes", mounted(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "x", ReadOnly: true}})},
		"PodSpecPersistentVolumeWrite": {"kubernetes.podspec-persistent-volume-write", "spec.volumes", mounted(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "x"}})},
		"PodSpecInitContainers":        {"kubernetes.podspec-init-containers", "spec.initContainers", initial},
		"PodSpecDNSPolicy":             {"kubernetes.podspec-dnspolicy", "spec.dnsPolicy", func(m *Model) { m.Spec.DNSPolicy = corev1.DNSDefault }},
		"PodSpecDNSConfig":             {"kubernetes.podspec-dnsconfig", "spec.dnsConfig", func(m *Model) { m.Spec.DNSConfig = &corev1.PodDNSConfig{} }},
	}
	about := reflect.TypeFor[servingconfig.Features]()
	for i := range about.NumField() {
		switch field := about.Field(i).Name; field {
		case "QueueProxyMountPodInfo", "QueueProxyResourceDefaults", "SecurePodDefaults", "TagHeaderBasedRouting", "AutoDetectHTTP2":
			// They allow nothing that a Model says.
		default:
			if _, ok := cases[field]; !ok {
				t.Errorf("no case for Knative's feature %s", field)
			}
		}
	}
	for field, c := range cases {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			on := withFeatures(servingconfig.Enabled)
			if err := errorsOf(on, c.change); err != nil {
				t.Error("on, unexpected error:", err)
			}
			config := *servingconfig.FromContext(on)
			features := *config.Features
			config.Features = &features
			reflect.ValueOf(&features).Elem().FieldByName(field).SetString(string(servingconfig.Disabled))
			err := errorsOf(servingconfig.ToContext(context.Background(), &config), c.change)
			if !slices.ContainsFunc(err.WrappedErrors(), func(e *apis.FieldError) bool {
				return slices.Contains(e.Paths, c.path) && strings.Contains(e.Details, "has set "+c.flag+": enabled in ConfigMap config-features")
			}) {
				t.Errorf("off: got %v\nwant an error at %s that names %s", err, c.path, c.flag)
			}
			for _, e := range err.WrappedErrors() {
				if len(e.Paths) == 0 {
					t.Errorf("%v names no field", e)
				}
			}
		})
	}
}

// What is wrong with any of the containers is said of that one; what no feature allows isn't
// said to be allowed by one.
func TestInvalidPods(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		change        func(*Model)
		path, says    string
		saysNothingOf string
	}{
		{"sidecar with a port", sidecar(func(c *corev1.Container) { c.Ports = []corev1.ContainerPort{{ContainerPort: 9}} }), "spec.sidecars[0].ports", "take the ports away", "feature"},
		{"second sidecar without an image", both(sidecar(), sidecar(func(c *corev1.Container) { c.Image = ""; c.Name = "x" })), "spec.sidecars[1].image", "missing", "feature"},
		{"init container without an image", both(sidecar(), func(m *Model) { m.Spec.InitContainers = []corev1.Container{{Name: "x"}} }), "spec.initContainers[0].image", "missing", "feature"},
		{"init container with a probe", both(initial, func(m *Model) { m.Spec.InitContainers[0].LivenessProbe = &corev1.Probe{} }), "spec.initContainers[0].livenessProbe", "not allowed", "feature"},
		{"variable twice", sidecar(func(c *corev1.Container) { c.Env = []corev1.EnvVar{{Name: "A"}, {Name: "A"}} }), "spec.sidecars[0].env[1].name", "once", "feature"},
		{"one name for two", sidecar(func(c *corev1.Container) { c.Name = "user-container" }), "spec.sidecars[0].name", "duplicate", "feature"},
		{"claims", func(m *Model) { m.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu"}} }, "spec.resourceClaims", "hands no claims on", "config-features"},
		{"a container's claims", func(m *Model) { m.Spec.Container.Resources.Claims = []corev1.ResourceClaim{{Name: "gpu"}} }, "spec.container.resources.claims", "hands no claims on", "config-features"},
		{"a token", func(m *Model) { m.Spec.AutomountServiceAccountToken = ptr(true) }, "spec.automountServiceAccountToken", "false only", "config-features"},
		{"SELinux", func(m *Model) {
			m.Spec.SecurityContext = &corev1.PodSecurityContext{SELinuxOptions: &corev1.SELinuxOptions{}}
		}, "spec.securityContext.seLinuxOptions", "must not set", "config-features"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := errorsOf(withFeatures(servingconfig.Enabled), c.change)
			at := slices.IndexFunc(err.WrappedErrors(), func(e *apis.FieldError) bool {
				return slices.Contains(e.Paths, c.path) && strings.Contains(e.Error(), c.says)
			})
			if at < 0 {
				t.Fatalf("got %v\nwant an error at %s that says %q", err, c.path, c.says)
			}
			if text := err.WrappedErrors()[at].Error(); strings.Contains(text, c.saysNothingOf) {
				t.Errorf("%q names a feature, and none would help", text)
			}
		})
	}
}

// A Model that says everything is let in where Knative has everything on.
func TestWholePod(t *testing.T) {
	t.Parallel()
	if err := errorsOf(withFeatures(servingconfig.Enabled), both(sidecar(), func(m *Model) {
		initial(m)
		s := &m.Spec
		s.Container.Resources.Limits = corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1"), "huawei.com/Ascend910": resource.MustParse("2")}
		s.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr(int64(2000)), RunAsNonRoot: ptr(true)}
		s.Affinity, s.RuntimeClassName, s.PriorityClassName, s.SchedulerName = &corev1.Affinity{}, ptr("nvidia"), "high", "gang"
		s.DNSPolicy, s.DNSConfig = corev1.DNSNone, &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.1"}}
		s.AutomountServiceAccountToken, s.EnableServiceLinks = ptr(false), ptr(true)
	})); err != nil {
		t.Error("unexpected error:", err)
	}
}

// Beside a sidecar, the container that serves is still told by its port, and found by the
// name that it would have alone.
func TestServingContainerAmongSeveral(t *testing.T) {
	t.Parallel()
	m := validModel()
	alone := m.Spec.RevisionSpec()
	if c := alone.GetContainer(); c.Name != "" || len(c.Ports) > 0 {
		t.Errorf("alone, it is %q with ports %v: a template of before would change", c.Name, c.Ports)
	}
	sidecar()(m)
	revision := m.Spec.RevisionSpec()
	if c := revision.GetContainer(); c.Image != m.Spec.Container.Image || c.Name != "user-container" || c.Ports[0].ContainerPort != 8080 {
		t.Errorf("Knative takes %q for the one that serves: %q, ports %v", c.Image, c.Name, c.Ports)
	}
	revision.Containers[0].Image, revision.Containers[1].Image = "changed", "changed"
	if m.Spec.Container.Image == "changed" || m.Spec.Sidecars[0].Image == "changed" || m.Spec.Container.Name != "" {
		t.Error("the revision's containers are the Model's own")
	}
	if names := slices.Sorted(maps.Keys(m.Spec.containers())); !slices.Equal(names, []string{"container", "sidecars[0]"}) {
		t.Errorf("containers = %q", names)
	}
}
