package v1alpha1

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/pkg/apis"
	"knative.dev/serving/pkg/apis/autoscaling"
	servingconfig "knative.dev/serving/pkg/apis/config"
	"knative.dev/serving/pkg/apis/serving"
	autoscalerconfig "knative.dev/serving/pkg/autoscaler/config"
)

func TestValidModels(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Model){
		"minimal":           func(*Model) {},
		"least rate":        func(m *Model) { m.Spec.Limit.RequestsPerSecondPerReplica = quantity("10u") },
		"greatest rate":     func(m *Model) { m.Spec.Limit.RequestsPerSecondPerReplica = quantity("1M") },
		"no headroom":       func(m *Model) { m.Spec.Limit.HeadroomPercent = ptr(int32(0)) },
		"generated name":    func(m *Model) { m.Name, m.GenerateName = "", "ranker-" },
		"probe, no handler": func(m *Model) { m.Spec.Container.ReadinessProbe = &corev1.Probe{SuccessThreshold: 1} },
		"progress deadline": startingWithin("20m"),
		"startup by command": func(m *Model) {
			m.Spec.Container.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}}
		},
		"startup, with a port": func(m *Model) {
			m.Spec.Container.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 8080}}}
		},
		"unbounded timeouts": func(m *Model) { m.Spec.IdleTimeoutSeconds = ptr(int64(0)) },
		"mounted secret": func(m *Model) {
			m.Spec.Volumes = []corev1.Volume{{Name: "weights", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "weights"}}}}
			m.Spec.Container.VolumeMounts = []corev1.VolumeMount{{Name: "weights", MountPath: "/weights"}}
		},
		"everything about scaling": func(m *Model) {
			m.Spec.Autoscaling = AutoscalingSpec{
				MinReplicas: ptr(int32(1)), MaxReplicas: ptr(int32(9)), InitialReplicas: ptr(int32(9)), Metric: MetricRPS,
				Target: ptr(int32(50)), TargetUtilization: ptr(int32(70)), Window: duration("6s"), ScaleDownDelay: duration("1h"),
				ScaleToZeroRetention: duration("0s"), TargetBurstCapacity: ptr(int32(-1)),
			}
		},
		"panic window": annotated("panic-window-percentage", "50"),
		"queue":        queued,
		"queue, activator asked for": func(m *Model) {
			queued(m)
			m.Spec.Autoscaling.TargetBurstCapacity = ptr(int32(-1))
		},
		"reserved annotations": func(m *Model) { m.Annotations = map[string]string{"serving.knative.dev/creator": "somebody"} },
		"being deleted": func(m *Model) {
			m.DeletionTimestamp, m.Spec = &metav1.Time{Time: time.Unix(1, 0)}, ModelSpec{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := errorsOf(context.Background(), change); err != nil {
				t.Error("unexpected error:", err)
			}
		})
	}
}

// queued is a Model whose requests may wait for a minute.
func queued(m *Model) {
	m.Spec.ContainerConcurrency = ptr(int64(1))
	m.Spec.Limit.Queue = &QueueSpec{Wait: *duration("60s")}
}

func queuedBut(change func(*Model)) func(*Model) {
	return func(m *Model) {
		queued(m)
		change(m)
	}
}

func TestInvalidModels(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		change func(*Model)
		path   string // that the error names
		says   string // part of what it says
	}{
		{"dotted name", func(m *Model) { m.Name = "a.b" }, "metadata.name", "first label of the Model's host"},
		{"long name", func(m *Model) { m.Name = strings.Repeat("a", 64) }, "metadata.name", "63"},
		{"digit first", func(m *Model) { m.Name = "1a" }, "metadata.name", "alphabetic"},
		{"bad prefix", func(m *Model) { m.Name, m.GenerateName = "", "Abc-" }, "metadata.generateName", "host"},

		{"no rate", func(m *Model) { m.Spec.Limit.RequestsPerSecondPerReplica = nil }, "spec.limit.requestsPerSecondPerReplica", "one warm replica"},
		{"rate of nothing", rate("0"), "spec.limit.requestsPerSecondPerReplica", "from 0.00001"},
		{"rate below least", rate("9u"), "spec.limit.requestsPerSecondPerReplica", "from 0.00001"},
		{"rate above greatest", rate("1000001"), "spec.limit.requestsPerSecondPerReplica", "1000000"},
		{"no burst", func(m *Model) { m.Spec.Limit.Burst = duration("0s") }, "spec.limit.burst", "at most 1m0s"},
		{"long burst", func(m *Model) { m.Spec.Limit.Burst = duration("61s") }, "spec.limit.burst", "at most 1m0s"},
		{"negative headroom", func(m *Model) { m.Spec.Limit.HeadroomPercent = ptr(int32(-1)) }, "spec.limit.headroomPercent", "0 to 1000"},
		{"headroom", func(m *Model) { m.Spec.Limit.HeadroomPercent = ptr(int32(1001)) }, "spec.limit.headroomPercent", "0 to 1000"},
		{"policy", func(m *Model) { m.Spec.Limit.Policy = "Never" }, "spec.limit.policy", "Demand or Ready"},

		{"queue without a wait", queuedBut(func(m *Model) { m.Spec.Limit.Queue.Wait.Duration = 0 }), "spec.limit.queue.wait", "above 0s"},
		{"queue before no bound", queuedBut(func(m *Model) { m.Spec.ContainerConcurrency = ptr(int64(0)) }), "spec.containerConcurrency", "at least 1"},
		{"queue before Knative's bound", queuedBut(func(m *Model) { m.Spec.ContainerConcurrency = nil }), "spec.containerConcurrency", "at least 1"},
		{"queue beyond a request's time", queuedBut(func(m *Model) { m.Spec.TimeoutSeconds = ptr(int64(60)) }), "spec.timeoutSeconds", "above spec.limit.queue.wait"},
		{"queue beyond its start", queuedBut(func(m *Model) { m.Spec.ResponseStartTimeoutSeconds = ptr(int64(30)) }), "spec.responseStartTimeoutSeconds", "a request waits"},
		{"queue beyond silence", queuedBut(func(m *Model) { m.Spec.IdleTimeoutSeconds = ptr(int64(30)) }), "spec.idleTimeoutSeconds", "a request waits"},
		{"queue past the activator", queuedBut(func(m *Model) { m.Spec.Autoscaling.TargetBurstCapacity = ptr(int32(200)) }), "spec.autoscaling.targetBurstCapacity", "-1 or unset"},
		{"queue past the activator, annotated", queuedBut(annotated("target-burst-capacity", "0")), "metadata.annotations[autoscaling.knative.dev/target-burst-capacity]", "-1 or unset"},
		{"queue without an activator", queuedBut(annotated("class", "hpa.autoscaling.knative.dev")), "spec.limit.queue", "kpa.autoscaling.knative.dev"},

		{"negative min", scaling(func(a *AutoscalingSpec) { a.MinReplicas = ptr(int32(-1)) }), "spec.autoscaling.minReplicas", "at least 0"},
		{"negative max", scaling(func(a *AutoscalingSpec) { a.MaxReplicas = ptr(int32(-1)) }), "spec.autoscaling.maxReplicas", "at least 0"},
		{"negative initial", scaling(func(a *AutoscalingSpec) { a.InitialReplicas = ptr(int32(-1)) }), "spec.autoscaling.initialReplicas", "at least 0"},
		{"min above max", scaling(func(a *AutoscalingSpec) { a.MinReplicas, a.MaxReplicas = ptr(int32(3)), ptr(int32(2)) }), "spec.autoscaling.minReplicas", "above maxReplicas"},
		{"initial above max", scaling(func(a *AutoscalingSpec) { a.InitialReplicas, a.MaxReplicas = ptr(int32(3)), ptr(int32(2)) }), "spec.autoscaling.initialReplicas", "above maxReplicas"},
		{"initial of zero", scaling(func(a *AutoscalingSpec) { a.InitialReplicas = ptr(int32(0)) }), "spec.autoscaling.initialReplicas", "not allowed by cluster"},
		{"metric", scaling(func(a *AutoscalingSpec) { a.Metric = "cpu" }), "spec.autoscaling.metric", "concurrency or rps"},
		{"target", scaling(func(a *AutoscalingSpec) { a.Target = ptr(int32(0)) }), "spec.autoscaling.target", "at least 1"},
		{"no utilization", scaling(func(a *AutoscalingSpec) { a.TargetUtilization = ptr(int32(0)) }), "spec.autoscaling.targetUtilization", "1 to 100"},
		{"utilization", scaling(func(a *AutoscalingSpec) { a.TargetUtilization = ptr(int32(101)) }), "spec.autoscaling.targetUtilization", "1 to 100"},
		{"short window", scaling(func(a *AutoscalingSpec) { a.Window = duration("5s") }), "spec.autoscaling.window", "from 6s to 1h0m0s"},
		{"long window", scaling(func(a *AutoscalingSpec) { a.Window = duration("61m") }), "spec.autoscaling.window", "from 6s to 1h0m0s"},
		{"fraction", scaling(func(a *AutoscalingSpec) { a.Window = duration("6500ms") }), "spec.autoscaling.window", "whole seconds"},
		{"delay", scaling(func(a *AutoscalingSpec) { a.ScaleDownDelay = duration("-1s") }), "spec.autoscaling.scaleDownDelay", "from 0s"},
		{"retention", scaling(func(a *AutoscalingSpec) { a.ScaleToZeroRetention = duration("2h") }), "spec.autoscaling.scaleToZeroRetention", "from 0s"},
		{"burst capacity", scaling(func(a *AutoscalingSpec) { a.TargetBurstCapacity = ptr(int32(-2)) }), "spec.autoscaling.targetBurstCapacity", "at least -1"},

		{"annotation", annotated("target", "much"), "metadata.annotations[autoscaling.knative.dev/target]", "much"},
		{"older spelling", annotated("minScale", "-3"), "metadata.annotations[autoscaling.knative.dev/minScale]", "-3"},
		{"annotation against spec", func(m *Model) {
			annotated("max-scale", "2")(m)
			m.Spec.Autoscaling.MinReplicas = ptr(int32(3))
		}, "spec.autoscaling.minReplicas", "max-scale=2 is less than min-scale=3"},
		{"class", annotated("class", "x.knative.dev"), "metadata.annotations[autoscaling.knative.dev/class]", "x.knative.dev"},

		{"no container", func(m *Model) { m.Spec.Container = corev1.Container{} }, "spec.container.image", "missing"},
		{"image", func(m *Model) { m.Spec.Container.Image = "Not An Image" }, "spec.container.image", "white space"},
		{"two ports", func(m *Model) {
			m.Spec.Container.Ports = []corev1.ContainerPort{{ContainerPort: 1000}, {ContainerPort: 1001}}
		}, "spec.container.ports", "ports"},
		{"reserved port", func(m *Model) { m.Spec.Container.Ports = []corev1.ContainerPort{{ContainerPort: 8012}} }, "spec.container.ports.containerPort", "8012"},
		{"lifecycle", func(m *Model) { m.Spec.Container.TTY = true }, "spec.container.tty", "must not set"},
		{"variable twice", func(m *Model) {
			m.Spec.Container.Env = []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B"}, {Name: "A", Value: "2"}}
		}, "spec.container.env[2].name", "once"},
		{"pull secret twice", func(m *Model) {
			m.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "a"}, {Name: "a"}}
		}, "spec.imagePullSecrets[1].name", "once"},
		{"progress deadline without a unit", startingWithin("1200"), "metadata.annotations[serving.knative.dev/progress-deadline]", "as in 20m"},
		{"progress deadline in parts of seconds", startingWithin("1.5s"), "metadata.annotations[serving.knative.dev/progress-deadline]", "whole seconds"},
		{"no progress deadline", startingWithin("-1m"), "metadata.annotations[serving.knative.dev/progress-deadline]", "from 1s"},
		{"endless progress deadline", startingWithin("200h"), "metadata.annotations[serving.knative.dev/progress-deadline]", "to 168h"},
		{"startup probe without a port", func(m *Model) {
			m.Spec.Container.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/started"}}}
		}, "spec.container.startupProbe", "8080"},
		{"startup probe of a named port", func(m *Model) {
			m.Spec.Container.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("http1")}}}
		}, "spec.container.startupProbe", "by its number"},
		{"reserved variable", func(m *Model) { m.Spec.Container.Env = []corev1.EnvVar{{Name: "PORT", Value: "1"}} }, "spec.container.env[0].name", "reserved"},
		{"unmounted volume", func(m *Model) {
			m.Spec.Container.VolumeMounts = []corev1.VolumeMount{{Name: "none", MountPath: "/x"}}
		}, "spec.container.volumeMounts[0].name", "no matching volume"},
		{"host path", func(m *Model) {
			m.Spec.Volumes = []corev1.Volume{{Name: "x", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}
			m.Spec.Container.VolumeMounts = []corev1.VolumeMount{{Name: "x", MountPath: "/x"}}
		}, "spec.volumes", "config-features"},
		{"service account", func(m *Model) { m.Spec.ServiceAccountName = "A B" }, "spec.serviceAccountName", "A B"},
		{"node selector", func(m *Model) { m.Spec.NodeSelector = map[string]string{"gpu": "yes"} }, "spec.nodeSelector", "kubernetes.podspec-nodeselector"},
		{"tolerations", func(m *Model) { m.Spec.Tolerations = []corev1.Toleration{{Key: "gpu"}} }, "spec.tolerations", "kubernetes.podspec-tolerations"},
		{"concurrency", func(m *Model) { m.Spec.ContainerConcurrency = ptr(int64(-1)) }, "spec.containerConcurrency", "-1"},
		{"timeout", func(m *Model) { m.Spec.TimeoutSeconds = ptr(int64(601)) }, "spec.timeoutSeconds", "600"},
		{"response start", func(m *Model) { m.Spec.ResponseStartTimeoutSeconds = ptr(int64(301)) }, "spec.responseStartTimeoutSeconds", "timeoutSeconds, which is 300"},
		{"idle", func(m *Model) { m.Spec.IdleTimeoutSeconds = ptr(int64(-1)) }, "spec.idleTimeoutSeconds", "at least 0"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := errorsOf(context.Background(), c.change)
			found := slices.ContainsFunc(err.WrappedErrors(), func(e *apis.FieldError) bool {
				return slices.Contains(e.Paths, c.path) && strings.Contains(e.Error(), c.says)
			})
			if !found {
				t.Errorf("got %v\nwant an error at %s that says %q", err, c.path, c.says)
			}
			for _, e := range err.WrappedErrors() {
				if len(e.Paths) == 0 {
					t.Errorf("%v names no field", e)
				}
			}
		})
	}
}

// A field that Sluice refuses is not reported by Knative's words as well.
func TestErrorsAreReportedOnce(t *testing.T) {
	t.Parallel()
	err := errorsOf(context.Background(), scaling(func(a *AutoscalingSpec) { a.Window = duration("5s") }))
	if got := len(err.WrappedErrors()); got != 1 {
		t.Errorf("%d errors, want 1: %v", got, err)
	}
}

func TestClusterConfigurationCounts(t *testing.T) {
	t.Parallel()
	features, err := servingconfig.NewFeaturesConfigFromMap(map[string]string{"kubernetes.podspec-nodeselector": "enabled"})
	if err != nil {
		t.Fatal(err)
	}
	scaler, err := autoscalerconfig.NewConfigFromMap(map[string]string{"allow-zero-initial-scale": "true", "max-scale": "5", "max-scale-limit": "5"})
	if err != nil {
		t.Fatal(err)
	}
	ctx := servingconfig.ToContext(context.Background(), &servingconfig.Config{Features: features, Autoscaler: scaler})
	allowed := func(m *Model) {
		m.Spec.NodeSelector = map[string]string{"gpu": "yes"}
		m.Spec.Autoscaling.InitialReplicas = ptr(int32(0))
	}
	if err := errorsOf(ctx, allowed); err != nil {
		t.Error("unexpected error:", err)
	}
	tooMany := errorsOf(ctx, scaling(func(a *AutoscalingSpec) { a.MaxReplicas = ptr(int32(6)) }))
	if tooMany == nil || !strings.Contains(tooMany.Error(), "spec.autoscaling.maxReplicas") {
		t.Errorf("got %v, want spec.autoscaling.maxReplicas above the cluster's limit", tooMany)
	}
}

func TestStatusUpdatesAreNotValidated(t *testing.T) {
	t.Parallel()
	ctx := apis.WithinSubResourceUpdate(context.Background(), &Model{}, "status")
	if err := (&Model{}).Validate(ctx); err != nil {
		t.Error("unexpected error:", err)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	rps := func(target, utilization int32) func(*Model) {
		return scaling(func(a *AutoscalingSpec) {
			a.Metric, a.Target, a.TargetUtilization = MetricRPS, ptr(target), ptr(utilization)
		})
	}
	full := func(concurrency int64, utilization int32) func(*Model) {
		return func(m *Model) {
			m.Spec.ContainerConcurrency, m.Spec.Autoscaling.TargetUtilization = ptr(concurrency), ptr(utilization)
		}
	}
	cases := []struct {
		name   string
		change func(*Model)
		says   string // "" for no warning
	}{
		{"concurrency, nothing known", func(*Model) {}, ""},
		{"rps that fits", rps(50, 70), ""},
		{"Ready, at the target", both(policy(PolicyReady), rps(50, 100)), "ever scaling up: policy Ready"},
		{"Ready, above", both(policy(PolicyReady), rps(100, 70)), "at most 50 requests per second per replica, and it adds a replica only above 70"},
		{"Ready, that fits", both(policy(PolicyReady), rps(50, 70)), ""},
		{"Ready, cannot scale anyway", both(policy(PolicyReady), both(rps(100, 70), scaling(func(a *AutoscalingSpec) { a.MaxReplicas = ptr(int32(1)) }))), ""},
		{"Demand, above what a replica serves", rps(100, 70), "settles at 70 requests per second per replica (target × targetUtilization), above the 50"},
		{"Demand, above the headroom", rps(200, 70), "only once requests are refused: policy Demand"},
		{"Demand, the cluster's default target", scaling(func(a *AutoscalingSpec) { a.Metric = MetricRPS }), "only once requests are refused: policy Demand"},
		{"concurrency that can't be reached", both(rate("100m"), func(m *Model) { m.Spec.TimeoutSeconds = ptr(int64(10)) }), "at most 2 requests in flight"},
		{"Ready, all of containerConcurrency", both(policy(PolicyReady), full(4, 100)), "at most 4 requests in flight per replica, and it adds a replica only above 4"},
		{"Ready, part of containerConcurrency", both(policy(PolicyReady), full(4, 70)), ""},
		{"Demand, all of containerConcurrency", full(4, 100), ""},
		{"target above concurrency", both(
			func(m *Model) { m.Spec.ContainerConcurrency = ptr(int64(4)) },
			scaling(func(a *AutoscalingSpec) { a.Target = ptr(int32(5)) })), "above containerConcurrency, which is 4"},
		{"another class", both(annotated("class", autoscaling.HPA), rps(200, 70)), ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			warnings := validate(context.Background(), c.change).Filter(apis.WarningLevel)
			about := warningsBySluice(warnings)
			if (c.says == "") != (about == "") || !strings.Contains(about, c.says) {
				t.Errorf("warnings = %q, want %q", about, c.says)
			}
			if err := errorsOf(context.Background(), c.change); err != nil {
				t.Error("a warning's case has an error:", err)
			}
		})
	}
}

func TestWarningsOfUpdates(t *testing.T) {
	t.Parallel()
	before := validModel()
	before.Spec.Limit.RequestsPerSecondPerReplica = nil
	scaling(func(a *AutoscalingSpec) { a.Metric, a.Target = MetricRPS, ptr(int32(50)) })(before)
	before.SetDefaults(context.Background())
	ctx := apis.WithinUpdate(context.Background(), before)

	after := before.DeepCopy()
	after.Spec.Autoscaling.Target = ptr(int32(60))
	annotated("class", autoscaling.HPA)(after)
	got := warningsBySluice(after.Validate(ctx).Filter(apis.WarningLevel))
	if !strings.Contains(got, "with the next revision only") {
		t.Errorf("warnings = %q, want one of the class", got)
	}

	after = before.DeepCopy()
	after.Spec.Autoscaling.Target = ptr(int32(60))
	got = warningsBySluice(after.Validate(ctx).Filter(apis.WarningLevel))
	if !strings.Contains(got, "stays at 50 while the target becomes 60") {
		t.Errorf("warnings = %q, want one of the rate", got)
	}
}

// warningsBySluice leaves out what Knative says of security contexts.
func warningsBySluice(warnings *apis.FieldError) string {
	var texts []string
	for _, w := range warnings.WrappedErrors() {
		if !strings.Contains(w.Error(), "securityContext") {
			texts = append(texts, w.Error())
		}
	}
	return strings.Join(texts, "\n")
}

func validModel() *Model {
	return &Model{
		ObjectMeta: metav1.ObjectMeta{Name: "ranker", Namespace: "search"},
		Spec: ModelSpec{
			Container: corev1.Container{Image: "registry.example/ranker:1"},
			Limit:     LimitSpec{RequestsPerSecondPerReplica: quantity("50")},
		},
	}
}

func validate(ctx context.Context, change func(*Model)) *apis.FieldError {
	m := validModel()
	m.SetDefaults(ctx)
	change(m)
	return m.Validate(ctx)
}

func errorsOf(ctx context.Context, change func(*Model)) *apis.FieldError {
	return validate(ctx, change).Filter(apis.ErrorLevel)
}

func annotated(key, value string) func(*Model) {
	return func(m *Model) { m.Annotations = map[string]string{AutoscalingPrefix + key: value} }
}

func startingWithin(deadline string) func(*Model) {
	return func(m *Model) { m.Annotations = map[string]string{serving.ProgressDeadlineAnnotationKey: deadline} }
}

func scaling(change func(*AutoscalingSpec)) func(*Model) {
	return func(m *Model) { change(&m.Spec.Autoscaling) }
}

func rate(q string) func(*Model) {
	return func(m *Model) { m.Spec.Limit.RequestsPerSecondPerReplica = quantity(q) }
}

func policy(p LimitPolicy) func(*Model) { return func(m *Model) { m.Spec.Limit.Policy = p } }

func both(first, second func(*Model)) func(*Model) {
	return func(m *Model) { first(m); second(m) }
}

func quantity(s string) *resource.Quantity { q := resource.MustParse(s); return &q }

func duration(s string) *metav1.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	return &metav1.Duration{Duration: d}
}

func ptr[T any](v T) *T { return &v }
