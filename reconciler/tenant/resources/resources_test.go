package resources

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metaapi "istio.io/api/meta/v1alpha1"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tlssecret"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestGolden(t *testing.T) {
	search := tenant("search", func(t *v1alpha1.Tenant) { t.Status.Domain = "search.example.com" })
	pair := tlssecret.Pair{Chain: []byte("certificate"), Key: []byte("key")}
	for name, objects := range map[string][]runtime.Object{
		"services":    {Services(search, own)[0], Services(search, own)[1]},
		"certificate": {SecretCopy(search, pair), SecureGateways(search, []string{shared, own})[0], SecureGateways(search, []string{shared, own})[1]},
	} {
		t.Run(name, func(t *testing.T) {
			var documents [][]byte
			for _, object := range objects {
				document, err := yaml.Marshal(object)
				if err != nil {
					t.Fatal(err)
				}
				documents = append(documents, document)
			}
			got := bytes.Join(documents, []byte("---\n"))
			file := "testdata/" + name + ".out.yaml"
			if *update {
				if err := os.WriteFile(file, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("(-want +got; -update rewrites it)\n%s", diff)
			}
		})
	}
}

func TestNoServiceExposesABindPort(t *testing.T) {
	for _, service := range Services(tenant("search"), own) {
		for _, port := range service.Spec.Ports {
			for _, entry := range gateway.Entries() {
				if port.Port == int32(entry.Port) {
					t.Errorf("Service %s exposes %d: istiod would translate it", service.Name, port.Port)
				}
			}
		}
	}
}

func TestLeadsTo(t *testing.T) {
	pods := map[string]string{"shared-1": shared, "own-1": own}
	endpoints := func(pods ...string) *discoveryv1.EndpointSlice {
		slice := &discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.9"}}}}
		for _, pod := range pods {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{TargetRef: &corev1.ObjectReference{Name: pod}})
		}
		return slice
	}
	mixed := []*corev1.Service{Services(tenant("search"), own)[0], Services(tenant("search"), shared)[1]}
	for _, test := range []struct {
		name      string
		services  []*corev1.Service
		endpoints []*discoveryv1.EndpointSlice
		want      []string
	}{
		{"selectors alone", Services(tenant("search"), own), nil, []string{own}},
		{"Services of two minds", mixed, nil, []string{shared, own}},
		{"endpoints lag", Services(tenant("search"), own), []*discoveryv1.EndpointSlice{endpoints("own-1"), endpoints("shared-1")}, []string{shared, own}},
		{"a pod that is gone", Services(tenant("search"), own), []*discoveryv1.EndpointSlice{endpoints("own-1", "shared-0")}, []string{own}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := LeadsTo(test.services, test.endpoints, func(pod string) string { return pods[pod] })
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestAddress(t *testing.T) {
	for want, ingress := range map[string][]corev1.LoadBalancerIngress{
		"": nil, "192.0.2.1": {{IP: "192.0.2.1"}}, "lb.example.com": {{}, {Hostname: "lb.example.com"}},
	} {
		service := &corev1.Service{Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: ingress}}}
		if got := Address(service); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestUnproved(t *testing.T) {
	route := func(name string, changes ...func(*istiov1.VirtualService)) *istiov1.VirtualService {
		vs := &istiov1.VirtualService{ObjectMeta: metav1.ObjectMeta{Name: "x." + name, Generation: 3}}
		for _, change := range changes {
			change(vs)
		}
		return vs
	}
	seenOn := func(status, message string, generation int64) func(*istiov1.VirtualService) {
		return func(vs *istiov1.VirtualService) {
			vs.Status.ObservedGeneration = generation
			vs.Status.Conditions = []*metaapi.IstioCondition{{Type: "Reconciled", Status: "True"}, {Type: "Proved", Status: status, Message: message}}
		}
	}
	ing := func(name, address string, ready corev1.ConditionStatus) *netv1alpha1.Ingress {
		at := func(service string) *netv1alpha1.LoadBalancerStatus {
			return &netv1alpha1.LoadBalancerStatus{Ingress: []netv1alpha1.LoadBalancerIngressStatus{
				{DomainInternal: service + ".sluice-gateways.svc.cluster.local"}}}
		}
		return &netv1alpha1.Ingress{
			ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: name},
			Status: netv1alpha1.IngressStatus{
				Status:             duckv1.Status{Conditions: duckv1.Conditions{{Type: apis.ConditionReady, Status: ready}}},
				PublicLoadBalancer: at(address), PrivateLoadBalancer: at(address + "-local"),
			},
		}
	}
	limit := func(name string, gateways ...string) *v1alpha1.RateLimit {
		l := &v1alpha1.RateLimit{
			ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: name, Generation: 2},
			Spec:       v1alpha1.RateLimitSpec{Gateways: gateways, VirtualService: "x." + name},
		}
		l.Status.ObservedGeneration = 2
		l.Status.Conditions = duckv1.Conditions{{Type: apis.ConditionReady, Status: corev1.ConditionTrue}}
		return l
	}
	onBoth, onShared := seenOn("True", "shared,tenant-search", 3), seenOn("True", "shared", 3)
	everywhere := []string{shared, own}
	for _, test := range []struct {
		name   string
		routes Routes
		want   []string
	}{
		{"nothing", Routes{}, nil},
		{"everything", Routes{
			Ingresses: []*netv1alpha1.Ingress{ing("a", own, "True")}, VirtualServices: []*istiov1.VirtualService{route("a", onBoth)},
			RateLimits: []*v1alpha1.RateLimit{limit("a", everywhere...)},
		}, nil},
		{"on more gateways than asked for", Routes{VirtualServices: []*istiov1.VirtualService{route("a", seenOn("True", "other,shared,tenant-search", 3))}}, nil},
		{"on one of them", Routes{VirtualServices: []*istiov1.VirtualService{route("a", onShared)}}, []string{"route x.a"}},
		{"an earlier generation", Routes{VirtualServices: []*istiov1.VirtualService{route("a", seenOn("True", "shared,tenant-search", 2))}}, []string{"route x.a"}},
		{"no longer", Routes{VirtualServices: []*istiov1.VirtualService{route("a", seenOn("False", "shared,tenant-search", 3))}}, []string{"route x.a"}},
		{"never served, so not waited for", Routes{
			Ingresses:       []*netv1alpha1.Ingress{ing("a", shared, "Unknown"), ing("refused", shared, "False")},
			VirtualServices: []*istiov1.VirtualService{route("a")}, RateLimits: []*v1alpha1.RateLimit{limit("a", shared), limit("refused")},
		}, nil},
		{"on its way out", Routes{VirtualServices: []*istiov1.VirtualService{
			route("a", onShared, func(vs *istiov1.VirtualService) { vs.DeletionTimestamp = at(0) })}}, nil},
		{"ready without a route", Routes{Ingresses: []*netv1alpha1.Ingress{ing("a", own, "True")}}, []string{"route x.a"}},
		{"another address", Routes{
			Ingresses: []*netv1alpha1.Ingress{ing("a", shared, "True")}, VirtualServices: []*istiov1.VirtualService{route("a", onBoth)},
		}, []string{"address of x.a"}},
		{"a limit for one gateway", Routes{
			VirtualServices: []*istiov1.VirtualService{route("a", onBoth)}, RateLimits: []*v1alpha1.RateLimit{limit("a", shared)},
		}, []string{"limit x/a"}},
		{"a limit not taken up", Routes{
			VirtualServices: []*istiov1.VirtualService{route("a", onBoth)},
			RateLimits:      []*v1alpha1.RateLimit{func() *v1alpha1.RateLimit { l := limit("a", everywhere...); l.Generation++; return l }()},
		}, []string{"limit x/a"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.routes.Unproved(everywhere, own); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestAwaiting(t *testing.T) {
	everywhere := []string{shared, own}
	for want, names := range map[string][]string{
		"": nil,
		"Waiting to see on shared and tenant-search: route x.a.":                                  {"route x.a"},
		"Waiting to see on shared and tenant-search: route x.a, route x.b, route x.c and 2 more.": {"route x.a", "route x.b", "route x.c", "route x.d", "limit x/a"},
	} {
		if got := Awaiting(names, everywhere); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// certificate makes a Secret with a certificate of its own making, good for an hour
// from start on.
func certificate(t *testing.T, hosts ...string) *corev1.Secret {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: hosts, NotBefore: start, NotAfter: start.Add(time.Hour)}
	leaf, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{Data: map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}}
}

func TestPair(t *testing.T) {
	good := certificate(t, "*.x.example.com")
	broken := good.DeepCopy()
	broken.Data[corev1.TLSPrivateKeyKey] = nil
	for _, test := range []struct {
		name   string
		secret *corev1.Secret
		after  time.Duration
		says   string
	}{
		{"good", good, time.Minute, ""},
		{"expired", good, 2 * time.Hour, "has expired: it was good until 2026-03-01T13:00:00Z"},
		{"not yet good", good, -time.Minute, "good from 2026-03-01T12:00:00Z on"},
		{"broken", broken, 0, "reading tls.key: "},
		{"broken and expired", broken, 2 * time.Hour, "reading tls.key: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Pair(test.secret, start.Add(test.after))
			if (err == nil) != (test.says == "") || (err != nil && !strings.Contains(err.Error(), test.says)) {
				t.Errorf("got %v, want %q", err, test.says)
			}
		})
	}
}

func TestUncovered(t *testing.T) {
	pair, err := Pair(certificate(t, "*.x.example.com", "*.example.com", "a.y.example.com"), start)
	if err != nil {
		t.Fatal(err)
	}
	search := tenant("search", holds(v1alpha1.NamespaceHeld, "x", "y"), holds(v1alpha1.NamespaceJoining, "z"), holds(v1alpha1.NamespaceLeaving, "w"))
	search.Status.Domain = "example.com"
	if got, want := Uncovered(pair.Leaf, search), []string{"*.y.example.com", "*.z.example.com"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestGatewayUnready(t *testing.T) {
	deployment := func(generation int64, ready int32, conditions ...appsv1.DeploymentCondition) *appsv1.Deployment {
		return &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Generation: 2},
			Status:     appsv1.DeploymentStatus{ObservedGeneration: generation, ReadyReplicas: ready, Conditions: conditions},
		}
	}
	waiting := func(reason, message string) *corev1.Pod {
		return &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
			{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}}}
	}
	unscheduled := &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/1 nodes are available."}}}}
	refused := appsv1.DeploymentCondition{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "quota"}
	for _, test := range []struct {
		name       string
		deployment *appsv1.Deployment
		pods       []*corev1.Pod
		says       string
		broken     bool
	}{
		{"all there", deployment(2, 2), nil, "", false},
		{"enough of them, one more comes up", deployment(2, 2), []*corev1.Pod{unscheduled}, "", false},
		{"not built", nil, nil, "to be built", false},
		{"an earlier one", deployment(1, 2), nil, "latest change", false},
		{"coming up", deployment(2, 1), []*corev1.Pod{waiting("ContainerCreating", "")}, "1 of 2 are ready", false},
		{"no image", deployment(2, 0), []*corev1.Pod{waiting("ImagePullBackOff", "not found"), waiting("ImagePullBackOff", "not found")},
			"has 0 of 2 pods ready: ImagePullBackOff: not found.", true},
		{"crashing", deployment(2, 0), []*corev1.Pod{waiting("CrashLoopBackOff", "")}, "has 0 of 2 pods ready: CrashLoopBackOff.", true},
		{"no room", deployment(2, 1), []*corev1.Pod{unscheduled}, "Unschedulable: 0/1 nodes are available.", true},
		{"no pods allowed", deployment(2, 0, refused), nil, "FailedCreate: quota", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, broken := Gateway{Name: own, Deployment: test.deployment, Pods: test.pods}.Unready(2)
			if broken != test.broken || (got == "") != (test.says == "") || !strings.Contains(got, test.says) {
				t.Errorf("got %q, %t; want %q, %t", got, broken, test.says, test.broken)
			}
		})
	}
}

func TestOverCaps(t *testing.T) {
	model := func(name string, replicas int32) *v1alpha1.Model {
		m := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: name}}
		if replicas > 0 {
			m.Spec.Autoscaling.MaxReplicas = &replicas
		}
		return m
	}
	models := []*v1alpha1.Model{model("a", 3), model("b", 4), model("c", 0)}
	few, many := int32(2), int32(9)
	for _, test := range []struct {
		name string
		caps v1alpha1.TenantLimits
		want []string
	}{
		{"none", v1alpha1.TenantLimits{}, nil},
		{"wide", v1alpha1.TenantLimits{Models: &many}, nil},
		{"too many Models", v1alpha1.TenantLimits{Models: &few}, []string{"there are 3 Models, spec.limits.models is 2"}},
		{"no bound", v1alpha1.TenantLimits{MaxReplicas: &many}, []string{"1 Models set no maxReplicas, which spec.limits.maxReplicas asks of each: x/c"}},
		{"too many replicas", v1alpha1.TenantLimits{MaxReplicas: &few}, []string{
			"the Models' maxReplicas add up to 7, spec.limits.maxReplicas is 2",
			"1 Models set no maxReplicas, which spec.limits.maxReplicas asks of each: x/c"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := OverCaps(test.caps, models); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestChanges(t *testing.T) {
	failed := func(reason string) func(*v1alpha1.TenantStatus) {
		return func(s *v1alpha1.TenantStatus) {
			s.Conditions = duckv1.Conditions{{Type: v1alpha1.TenantConditionGatewayReady, Status: corev1.ConditionFalse, Reason: reason, Message: "m"},
				{Type: apis.ConditionReady, Status: corev1.ConditionFalse, Reason: reason, Message: "m"}}
		}
	}
	with := func(status v1alpha1.TenantStatus, change func(*v1alpha1.TenantStatus)) v1alpha1.TenantStatus {
		change(&status)
		return status
	}
	having := func(changes ...func(*v1alpha1.Tenant)) v1alpha1.TenantStatus { return tenant("a", changes...).Status }
	preparing := moving(served(shared, shared), v1alpha1.MovePreparing, shared, own)
	for _, test := range []struct {
		name          string
		before, after v1alpha1.TenantStatus
		want          []string
	}{
		{"nothing", preparing, with(preparing, func(s *v1alpha1.TenantStatus) { s.GatewayPods = 3 }), nil},
		{"the first gateway", v1alpha1.TenantStatus{}, served(shared, shared), nil},
		{"a move begins", served(shared, shared), preparing, []string{"MovePreparing"}},
		{"a move is called off", preparing, served(shared, shared), []string{"MoveCalledOff"}},
		{"switched", moving(both(shared), v1alpha1.MoveSwitching, shared, own), moving(both(own), v1alpha1.MoveDraining, shared, own),
			[]string{"AddressSwitched", "MoveDraining"}},
		{"turned round", moving(both(own), v1alpha1.MoveDraining, shared, own), moving(both(own), v1alpha1.MoveAttaching, own, shared), []string{"MoveAttaching"}},
		{"finished", moving(both(own), v1alpha1.MoveDraining, shared, own), served(own, own), []string{"MoveFinished"}},
		{"namespaces", having(holds(v1alpha1.NamespaceHeld, "x", "y")), having(holds(v1alpha1.NamespaceLeaving, "y"), holds(v1alpha1.NamespaceJoining, "z")),
			[]string{"NamespaceLeaving", "NamespaceJoining", "NamespaceReleased"}},
		{"fails", preparing, with(preparing, failed("GatewayNotStarting")), []string{"GatewayNotStarting!"}},
		{"fails still", with(preparing, failed("GatewayNotStarting")), with(preparing, failed("GatewayNotStarting")), nil},
		{"fails otherwise", with(preparing, failed("GatewayNotStarting")), with(preparing, failed("NoGatewayPods")), []string{"NoGatewayPods!"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, change := range Changes(test.before, test.after) {
				if change.Warning {
					change.Reason += "!"
				}
				got = append(got, change.Reason)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
