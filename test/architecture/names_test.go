package architecture

import (
	"fmt"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	netv1alpha1 "knative.dev/networking/pkg/apis/networking/v1alpha1"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/kmeta"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	routenames "knative.dev/serving/pkg/reconciler/route/resources/names"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/functions/batch/task"
	"sluice.dev/sluice/functions/trigger/mapping"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	"sluice.dev/sluice/reconciler/apis/tlssecret"
	batchresources "sluice.dev/sluice/reconciler/batch/resources"
	brokerresources "sluice.dev/sluice/reconciler/broker/resources"
	gatewayresources "sluice.dev/sluice/reconciler/gateway/resources"
	ingressresources "sluice.dev/sluice/reconciler/ingress/resources"
	modelresources "sluice.dev/sluice/reconciler/model/resources"
	tenantresources "sluice.dev/sluice/reconciler/tenant/resources"
	triggerresources "sluice.dev/sluice/reconciler/trigger/resources"
)

// named are the objects that are made, by "<kind> <name>": two of one name are one.
type named map[string]string

// add checks what the API server would of an object's name and labels.
func (n named) add(t *testing.T, from string, object metav1.Object) {
	t.Helper()
	id := fmt.Sprintf("%T %s/%s", object, object.GetNamespace(), object.GetName())
	valid := apivalidation.NameIsDNSSubdomain
	if _, ok := object.(*corev1.Service); ok {
		valid = apivalidation.NameIsDNS1035Label
	}
	for _, problem := range valid(object.GetName(), false) {
		t.Errorf("%s, made from %s: %s", id, from, problem)
	}
	for key, value := range object.GetLabels() {
		for _, problem := range validation.IsValidLabelValue(value) {
			t.Errorf("%s, made from %s: label %s=%s: %s", id, from, key, value, problem)
		}
	}
	if other, taken := n[id]; taken {
		t.Errorf("%s is made from %s and from %s", id, from, other)
	}
	n[id] = from
}

// Whatever the length of its name, all that is made from a Model has a name of its own
// and labels that Kubernetes takes.
func TestNamesMadeFromModels(t *testing.T) {
	made, tenant := named{}, &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: strings.Repeat("t", 40)}}
	for length := 1; length <= validation.DNS1035LabelMaxLength; length++ {
		for _, last := range []string{"a", "b"} { // names that differ at their ends alone
			m := &v1alpha1.Model{ObjectMeta: metav1.ObjectMeta{
				Namespace: strings.Repeat("n", validation.DNS1123LabelMaxLength), Name: strings.Repeat("m", length-1) + last,
			}}
			m.Spec.WarmUp = &v1alpha1.WarmUpSpec{Requests: []v1alpha1.WarmUpRequest{{Body: strings.Repeat("x", 64<<10)}}}
			rate := resource.MustParse("10")
			m.Spec.Limit.RequestsPerSecondPerReplica = &rate
			m.SetDefaults(t.Context())
			ofModel(t, made, m, tenant)
		}
	}
}

func ofModel(t *testing.T, made named, m *v1alpha1.Model, tenant *v1alpha1.Tenant) {
	t.Helper()
	service := modelresources.LabelService(m, tenant, modelresources.EmptyService(m))
	bodies, err := modelresources.WarmUpBodies(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range []metav1.Object{service, modelresources.RateLimit(m, tenant, service), bodies} {
		made.add(t, m.Name, object)
	}
	route := &servingv1.Route{ObjectMeta: service.ObjectMeta}
	ing := &netv1alpha1.Ingress{ObjectMeta: metav1.ObjectMeta{
		Namespace: m.Namespace, Name: routenames.Ingress(route), Labels: map[string]string{sluice.ModelLabelKey: m.Name},
	}}
	ing.Spec.Rules = []netv1alpha1.IngressRule{{
		Hosts: []string{m.Name + ".example.com"}, Visibility: netv1alpha1.IngressVisibilityExternalIP,
		HTTP: &netv1alpha1.HTTPIngressRuleValue{Paths: []netv1alpha1.HTTPIngressPath{{
			Splits: []netv1alpha1.IngressBackendSplit{{Percent: 100, IngressBackend: netv1alpha1.IngressBackend{
				ServiceNamespace: m.Namespace, ServiceName: kmeta.ChildName(m.Name, "-00001"), ServicePort: intstr.FromInt32(80),
			}}},
		}}},
	}}
	if limit := modelresources.RateLimit(m, tenant, service); limit.Spec.VirtualService != gateway.VirtualServiceName(ing.Namespace, ing.Name) {
		t.Errorf("the limit of %s is of VirtualService %s, which isn't its Ingress'", m.Name, limit.Spec.VirtualService)
	}
	binding := ingressresources.Binding{
		HTTP: []string{"sluice-gateways/shared"}, Tenant: tenant.Name, SplitBy: &v1alpha1.SplitKey{Header: "X-User-Id"}, ProbePath: "/probe",
	}
	served, err := ingressresources.VirtualService(ing, binding)
	if err != nil {
		t.Fatal(err)
	}
	split, err := ingressresources.SplitFilter(ing, binding)
	if err != nil {
		t.Fatal(err)
	}
	on := gateway.OfTenant(tenant.Name)
	certificates := []ingressresources.Certificate{{Secret: strings.Repeat("s", validation.DNS1123SubdomainMaxLength), Hosts: ing.Spec.Rules[0].Hosts}}
	for _, object := range []metav1.Object{
		served, split, ingressresources.SecureGateway(ing, tenant.Name, on, certificates),
		ingressresources.SecretCopy(ing, tenant.Name, certificates[0], tlssecret.Pair{}),
	} {
		made.add(t, m.Name, object)
	}
}

// Whatever the length of its name that the webhook takes, all that is made from a Tenant
// has a name of its own and labels that Kubernetes takes.
func TestNamesMadeFromTenants(t *testing.T) {
	made := named{}
	for length := 1; ; length++ {
		tenant := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: strings.Repeat("t", length)}}
		tenant.Spec.Namespaces.Names = []string{"team"}
		tenant.SetDefaults(t.Context())
		if err := tenant.Validate(t.Context()); err != nil {
			if length <= 30 {
				t.Fatalf("a name of %d characters: %v", length, err)
			}
			return
		}
		ofTenant(t, made, tenant)
	}
}

func ofTenant(t *testing.T, made named, tenant *v1alpha1.Tenant) {
	t.Helper()
	gw := gatewayresources.Gateway{
		Name: gateway.OfTenant(tenant.Name), Tenant: tenant.Name, MinReplicas: 1, MaxReplicas: 2, Slots: gateway.MaxSlots, ProbePath: "/probe",
	}
	http, err := gatewayresources.HTTPFilters(gw)
	if err != nil {
		t.Fatal(err)
	}
	connections, err := gatewayresources.ConnectionFilters(gw)
	if err != nil {
		t.Fatal(err)
	}
	slot := http.DeepCopy()
	slot.Name = gateway.SlotObjectName(gw.Name, gateway.MaxSlots, gateway.MaxSlots-1)
	objects := []metav1.Object{
		gatewayresources.Autoscaler(gw), gatewayresources.Deployment(gw), http, connections, slot, gatewayresources.ProbeVirtualService(gw),
		gatewayresources.ServiceAccount(gw), gatewayresources.DisruptionBudget(gw), tenantresources.SecretCopy(tenant, tlssecret.Pair{}),
	}
	for _, g := range gatewayresources.IstioGateways(gw) {
		objects = append(objects, g)
	}
	for _, g := range tenantresources.SecureGateways(tenant, []string{gateway.Shared, gw.Name}) {
		objects = append(objects, g)
	}
	for _, s := range gatewayresources.Services(gw) {
		objects = append(objects, s)
	}
	for _, s := range tenantresources.Services(tenant, gw.Name) {
		objects = append(objects, s)
	}
	for _, object := range objects {
		made.add(t, tenant.Name, object)
	}
	for _, problem := range validation.IsDNS1123Subdomain(gateway.ProbeHost(gw.Name)) {
		t.Errorf("the probe host of %s: %s", tenant.Name, problem)
	}
}

// Whatever the length of its name that the webhook takes, the Jobs that are made from a Batch
// have names of their own, labels that Kubernetes takes, and room in the host names of their
// pods for the highest index.
func TestNamesMadeFromBatches(t *testing.T) {
	made := named{}
	for length := 1; ; length++ {
		for _, last := range []string{"a", "b"} {
			b := &v1alpha1.Batch{ObjectMeta: metav1.ObjectMeta{Namespace: "search", Name: strings.Repeat("n", length-1) + last, UID: "u"}}
			b.Spec.Model, b.Spec.Request.Path = "ranker", "/score"
			b.Spec.Input.ConfigMap = &v1alpha1.BatchConfigMapInput{Name: "items", Key: "items.jsonl"}
			b.Spec.Output.Volume = &v1alpha1.BatchVolumeOutput{ClaimName: "data", Folder: "runs/1"}
			b.SetDefaults(t.Context())
			if err := b.Validate(t.Context()); err != nil {
				if length <= 50 {
					t.Fatalf("a name of %d characters: %v", length, err)
				}
				return
			}
			ofBatch(t, made, b)
		}
	}
}

// Whatever the length of its name that the webhook takes, the Triggers that are made from an
// InferenceTrigger, and the Batches that its events start, have names of their own and labels that
// Kubernetes takes.
func TestNamesMadeFromInferenceTriggers(t *testing.T) {
	made := named{}
	for length := 1; ; length++ {
		for _, last := range []string{"a", "b"} {
			trigger := &v1alpha1.InferenceTrigger{ObjectMeta: metav1.ObjectMeta{Namespace: "search", Name: strings.Repeat("n", length-1) + last, UID: "u"}}
			trigger.Spec.Broker = "default"
			trigger.Spec.Model, trigger.Spec.Request = "ranker", &v1alpha1.TriggerRequest{Path: "/score"}
			trigger.Spec.Reply = &v1alpha1.TriggerReply{Sink: &duckv1.Destination{URI: apis.HTTP("sink.example.com")}}
			trigger.SetDefaults(t.Context())
			if err := trigger.Validate(t.Context()); err != nil {
				if length <= 50 {
					t.Fatalf("a name of %d characters: %v", length, err)
				}
				return
			}
			ofInferenceTrigger(t, made, trigger)
		}
	}
}

func ofInferenceTrigger(t *testing.T, made named, trigger *v1alpha1.InferenceTrigger) {
	t.Helper()
	delivering, err := triggerresources.Trigger(trigger, "http://triggers.sluice-system.svc.cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	who := eventing.InferenceTrigger{Ref: eventing.Ref{Namespace: trigger.Namespace, Name: trigger.Name}, UID: trigger.UID}
	if got, err := eventing.ParseInferenceTrigger(delivering.Spec.Subscriber.URI.Path); err != nil || got != who {
		t.Errorf("events of %s are delivered to the path of %+v, %v", trigger.Name, got, err)
	}
	event := cloudevents.NewEvent()
	event.SetID("1")
	event.SetSource("/s")
	event.SetType("t")
	started := &v1alpha1.Batch{ObjectMeta: metav1.ObjectMeta{
		Namespace: trigger.Namespace, Name: mapping.BatchName(who, event), Labels: map[string]string{sluice.TriggerLabelKey: trigger.Name},
	}}
	for _, object := range []metav1.Object{delivering, triggerresources.ReplyTrigger(trigger), started} {
		made.add(t, trigger.Name, object)
	}
}

// Whatever the length of its name, the Trigger that is made for a Broker has a name of its own, which
// whoever is delivered by it knows, and labels that Kubernetes takes. Knative has the Broker's name in
// one of these.
func TestNamesMadeFromBrokers(t *testing.T) {
	made := named{}
	for length := 1; length <= validation.LabelValueMaxLength; length++ {
		for _, last := range []string{"a", "b"} {
			b := &eventingv1.Broker{ObjectMeta: metav1.ObjectMeta{Namespace: "search", Name: strings.Repeat("n", length-1) + last, UID: "u"}}
			trigger, err := brokerresources.Trigger(b, "http://triggers.sluice-system.svc.cluster.local")
			if err != nil {
				t.Fatal(err)
			}
			of, err := eventing.ParseRequestedBroker(trigger.Spec.Subscriber.URI.Path)
			if err != nil || of.Name != b.Name || of.Namespace != b.Namespace || of.UID != b.UID || of.TriggerName() != trigger.Name {
				t.Errorf("requests of %s are delivered to the path of %+v, %v", b.Name, of, err)
			}
			made.add(t, b.Name, trigger)
		}
	}
}

// What marks a batch's requests is the same to the worker, which sends it, to the limit, which
// goes by it, and to the webhook, which keeps it from users; so is what names their items.
func TestOneMark(t *testing.T) {
	if !strings.EqualFold(task.MarkHeader, gateway.MarkHeader) {
		t.Errorf("workers send %s, limits go by %s", task.MarkHeader, gateway.MarkHeader)
	}
	for _, name := range []string{task.MarkHeader, task.KeyHeader} {
		b := &v1alpha1.Batch{ObjectMeta: metav1.ObjectMeta{Namespace: "search", Name: "nightly"}}
		b.Spec.Request.Headers = map[string]string{name: "x"}
		if err := b.Validate(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("header %s may be a user's: %v", name, err)
		}
	}
}

func ofBatch(t *testing.T, made named, b *v1alpha1.Batch) {
	t.Helper()
	b.Status.MarkPlanned(1_000_000, task.MaxShards)
	const model = "http://ranker.search.svc.cluster.local"
	worker := batchresources.Worker{Image: "worker", Credits: "http://batch.sluice-system.svc.cluster.local"}
	plan, err := batchresources.PlanJob(b, model, worker)
	if err != nil {
		t.Fatal(err)
	}
	work, err := batchresources.WorkJob(b, model, worker)
	if err != nil {
		t.Fatal(err)
	}
	for _, job := range []*batchv1.Job{plan, work} {
		made.add(t, b.Name, job)
		host := fmt.Sprintf("%s-%d", job.Name, *job.Spec.Completions-1)
		for _, problem := range validation.IsDNS1123Label(host) {
			t.Errorf("host %s: %s", host, problem)
		}
	}
}
