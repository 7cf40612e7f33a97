package limit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	istiofake "istio.io/client-go/pkg/clientset/versioned/fake"
	istioclient "istio.io/client-go/pkg/clientset/versioned/typed/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubefake "k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"
	autoscalingv1alpha1 "knative.dev/serving/pkg/apis/autoscaling/v1alpha1"
	"knative.dev/serving/pkg/apis/serving"
	servingfake "knative.dev/serving/pkg/client/clientset/versioned/fake"

	"sluice.dev/sluice/eventing"
	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
	sluicefake "sluice.dev/sluice/reconciler/client/clientset/versioned/fake"
)

// TestMain turns off watch-lists, which the clients' fakes don't speak.
func TestMain(m *testing.M) {
	if err := os.Setenv("KUBE_FEATURE_WatchListClient", "false"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// bench is a Function over a cluster of fakes. What Envoy would do with a slot is
// the e2e tests' business; here a pod enforces what is written, unless it lags.
type bench struct {
	*Function
	t       *testing.T
	Filters istioclient.EnvoyFilterInterface
	kube    *kubefake.Clientset
	serving *servingfake.Clientset
	istio   *istiofake.Clientset
	sluice  *sluicefake.Clientset
	// informers are those of the Function that was built last.
	informers *Informers

	mu sync.Mutex
	// lagging is a pod that never answers, uncertified a host without a certificate.
	lagging, uncertified string
	sent                 []cloudevents.Event
	// repaired are the slots that others changed, and how.
	repaired []string
	offered  map[string][]float64
	// marked is what of it carries the mark.
	marked map[string][]float64
	// unread is true while nobody knows what is offered, and silent once it isn't read any more.
	unread, silent bool
	// passed is how the bounds of each RateLimit were passed.
	passed *v1alpha1.RateLimitBreach
	// end ends the Function that runs.
	end func()
}

// demandAt is the demand that a test says there is.
type demandAt struct{ *bench }

func (demandAt) Run(context.Context) {}

func (b demandAt) Known() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.unread
}

func (b demandAt) At(name, _ string) []float64 { return b.of(&b.offered, name) }

func (b demandAt) Marked(name, _ string) []float64 { return b.of(&b.marked, name) }

func (b demandAt) of(rates *map[string][]float64, name string) []float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	demand := make([]float64, len(gateway.Entries()))
	copy(demand, (*rates)[name])
	return demand
}

func (b demandAt) Latest(name, virtualService string) []float64 {
	latest := b.At(name, virtualService)
	for e, rate := range b.Marked(name, virtualService) {
		latest[e] -= rate
	}
	return latest
}

func (b demandAt) ReadAt(string) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.silent {
		return time.Time{}
	}
	return b.Clock.Now()
}

func (b demandAt) Arrived(string, string) []float64 { return make([]float64, len(gateway.Entries())) }

// watchOf finds the breach that a test says there is.
type watchOf struct{ *bench }

func (watchOf) Run(context.Context) {}

func (b watchOf) Breach(_ types.NamespacedName, since metav1.MicroTime) *v1alpha1.RateLimitBreach {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.passed == nil || !b.passed.Since.Equal(&since) {
		return nil
	}
	return b.passed
}

func (b *bench) Send(_ context.Context, e cloudevents.Event) error {
	b.set(func() { b.sent = append(b.sent, e) })
	return nil
}

// record.EventRecorder, of which the function uses one method.
func (b *bench) Event(object runtime.Object, _, reason, _ string) {
	of, _ := object.(*corev1.ObjectReference)
	b.set(func() { b.repaired = append(b.repaired, reason+" "+of.Name) })
}

func (b *bench) Eventf(runtime.Object, string, string, string, ...any) {}

func (b *bench) AnnotatedEventf(runtime.Object, map[string]string, string, string, string, ...any) {}

func (b *bench) events() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.sent)
}

func (b *bench) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// ask is what a gateway pod answers: the generation in the slot that is written.
func (b *bench) ask(ctx context.Context, _ *http.Client, q question, _ string) (string, error) {
	b.mu.Lock()
	lagging, uncertified := b.lagging == q.pod.Name, b.uncertified == q.host
	b.mu.Unlock()
	if lagging {
		return "", nil
	}
	if uncertified {
		return "", errors.New("no certificate")
	}
	config, err := b.slot(ctx, gateway.SlotObjectName(q.pod.Gateway, q.pod.Slots, q.slot), q.entry)
	if err != nil {
		return "", err
	}
	for _, h := range config.GetResponseHeadersToAdd() {
		if h.GetHeader().GetKey() == gateway.GenerationHeader {
			return h.GetHeader().GetValue(), nil
		}
	}
	return "", nil
}

// slot is the filter that is written for an entry.
func (b *bench) slot(ctx context.Context, object string, entry gateway.Entry) (*localv3.LocalRateLimit, error) {
	written, err := b.istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace).Get(ctx, object, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	config := written.Spec.GetConfigPatches()[slices.Index(gateway.Entries(), entry)].GetPatch().GetValue().GetFields()["typed_config"].GetStructValue()
	fields := maps.Clone(config.GetFields())
	delete(fields, "@type")
	content, err := protojson.Marshal(&structpb.Struct{Fields: fields})
	if err != nil {
		return nil, err
	}
	filter := &localv3.LocalRateLimit{}
	return filter, protojson.Unmarshal(content, filter)
}

// rates are what each entry of a gateway admits to a virtual service, over all
// pods that it has; nil where it has no limit at any.
func (b *bench) rates(name, virtualService string) []float64 {
	b.t.Helper()
	var rates []float64
	for _, entry := range gateway.Entries() {
		filter, err := b.slot(b.t.Context(), slotAt(name, virtualService), entry)
		if err != nil {
			return nil
		}
		for _, d := range filter.GetDescriptors() {
			if d.GetEntries()[0].GetValue() == gateway.VirtualServiceMetadata(virtualService) {
				bucket := d.GetTokenBucket()
				rates = append(rates, float64(bucket.GetTokensPerFill().GetValue())/bucket.GetFillInterval().AsDuration().Seconds())
			}
		}
	}
	return rates
}

// slotAt is the slot of a virtual service at a gateway that has the default number.
func slotAt(name, virtualService string) string {
	return gateway.SlotObjectName(name, gateway.DefaultSlots, SlotOf(virtualService, gateway.DefaultSlots))
}

func (b *bench) admits(name, virtualService string, want ...float64) func() bool {
	return func() bool { return slices.Equal(b.rates(name, virtualService), want) }
}

func newBench(t *testing.T, replicas int, limits ...*v1alpha1.RateLimit) *bench {
	t.Helper()
	b := &bench{
		t:       t,
		kube:    kubefake.NewClientset(gatewayPod(gateway.Shared, "shared-a"), endpoints(replicas)),
		serving: servingfake.NewSimpleClientset(autoscaler(int32(replicas))),
		istio:   istiofake.NewSimpleClientset(inserting(gateway.Shared, gateway.DefaultSlots)),
		sluice:  sluicefake.NewSimpleClientset(),
	}
	b.sluice.PrependReactor("update", "ratelimits", b.statusAlone)
	for _, l := range limits {
		if _, err := b.sluice.SluiceV1alpha1().RateLimits("team").Create(t.Context(), l, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	b.start()
	return b
}

// statusAlone takes of a write of a status nothing else, as the API server does: a spec that
// changed while it was on its way stays changed.
func (b *bench) statusAlone(action kubetesting.Action) (bool, runtime.Object, error) {
	update, ok := action.(kubetesting.UpdateAction)
	if !ok || action.GetSubresource() != "status" {
		return false, nil, nil
	}
	sent, ok := update.GetObject().(*v1alpha1.RateLimit)
	if !ok {
		return false, nil, nil
	}
	have, err := b.sluice.Tracker().Get(action.GetResource(), sent.Namespace, sent.Name)
	if err != nil {
		return true, nil, err
	}
	next, ok := have.DeepCopyObject().(*v1alpha1.RateLimit)
	if !ok {
		return false, nil, nil
	}
	next.Status = sent.Status
	return true, next, b.sluice.Tracker().Update(action.GetResource(), next, next.Namespace)
}

// start runs a Function, with caches of its own.
func (b *bench) start() {
	b.t.Helper()
	b.build()
	b.run()
}

func (b *bench) run() {
	ctx, cancel := context.WithCancel(b.t.Context())
	ended, function := make(chan struct{}), b.Function
	go func() {
		defer close(ended)
		function.Run(ctx)
	}()
	b.end = func() {
		cancel()
		<-ended
	}
}

// build has another Function, which doesn't run.
func (b *bench) build() {
	b.t.Helper()
	t := b.t
	b.Function = New()
	informers, err := NewInformers(Clients{
		Kube: b.kube, Serving: b.serving, Istio: b.istio, Metadata: metadataIn{istio: b.istio}, Sluice: b.sluice,
	}, Namespaces{System: "sluice-system", Serving: "knative-serving"}, b.Look)
	if err != nil {
		t.Fatal(err)
	}
	if err := informers.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.informers = informers
	prover := NewProver(clock.RealClock{}, b.Proved, anywhere)
	prover.ask = b.ask
	b.Caches, b.Prover, b.Demand, b.Events = informers.Caches(), prover, demandAt{b}, b
	b.Filters = b.istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace)
	b.Slots = slotWriterOf{b.Filters}
	b.Watch = watchOf{b}
	b.Limits, b.ProbeToken = b.sluice.SluiceV1alpha1(), func() string { return "token" }
	b.Log = zap.NewNop().Sugar()
	b.Recorder = b
}

func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	eventually(b.t, what, ok)
}

// eventually waits for a condition, and says what it waited for if it never comes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	// As long as a machine may take that builds something else beside.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("never saw %s", what)
		case <-tick.C:
		}
	}
}

// serve makes an Istio Gateway, named and labelled as the gateway's builder does,
// with a server at an entry. With a gateway's own comes what inserts its slots.
func (b *bench) serve(name, of string, entry gateway.Entry, hosts ...string) {
	b.t.Helper()
	if name == of && of != gateway.Shared {
		f := inserting(of, gateway.DefaultSlots)
		if _, err := b.istio.NetworkingV1alpha3().EnvoyFilters(gateway.Namespace).Create(b.t.Context(), f, metav1.CreateOptions{}); err != nil {
			b.t.Fatal(err)
		}
	}
	g := istioGatewayOf(name, of, entry, hosts...)
	if _, err := b.istio.NetworkingV1().Gateways(gateway.Namespace).Create(b.t.Context(), g, metav1.CreateOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

// route writes a virtual service, anew if there is one.
func (b *bench) route(v *istiov1.VirtualService) {
	b.t.Helper()
	routes := b.istio.NetworkingV1().VirtualServices(gateway.Namespace)
	_, err := routes.Update(b.t.Context(), v, metav1.UpdateOptions{})
	if apierrs.IsNotFound(err) {
		_, err = routes.Create(b.t.Context(), v, metav1.CreateOptions{})
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// routed is true once the caches have a virtual service.
func (b *bench) routed(name string) func() bool {
	return func() bool {
		s, err := b.Caches.gather()
		return err == nil && s.routing.attached(name).Has(gateway.Shared)
	}
}

// change edits a RateLimit's spec.
func (b *bench) change(name string, edit func(*v1alpha1.RateLimitSpec)) {
	b.t.Helper()
	l := b.limit(name)
	edit(&l.Spec)
	l.Generation++
	if _, err := b.sluice.SluiceV1alpha1().RateLimits("team").Update(b.t.Context(), l, metav1.UpdateOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) limit(name string) *v1alpha1.RateLimit {
	b.t.Helper()
	l, err := b.sluice.SluiceV1alpha1().RateLimits("team").Get(context.WithoutCancel(b.t.Context()), name, metav1.GetOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return l
}

func (b *bench) applied(rate int64) func() bool {
	return func() bool {
		l := b.limit("m")
		return l.Status.Limit != nil && l.Status.Limit.RequestsPerSecond.Value() == rate && l.Status.Limit.Since != nil &&
			isReady(&l.Status)
	}
}

func (b *bench) slotWrites() int {
	return writesIn(b.istio.Actions())
}

func writesIn(actions []kubetesting.Action) int {
	n := 0
	for _, a := range actions {
		// Virtual services and Istio Gateways are the tests' own.
		if (a.GetVerb() == "create" || a.GetVerb() == "update") && (a.GetResource().Resource == "envoyfilters" || a.GetResource().Resource == "ratelimits") {
			n++
		}
	}
	return n
}

func (b *bench) scale(desired, ready int) {
	b.t.Helper()
	if _, err := b.serving.AutoscalingV1alpha1().PodAutoscalers("team").Update(b.t.Context(), autoscaler(int32(desired)), metav1.UpdateOptions{}); err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.kube.DiscoveryV1().EndpointSlices("team").Update(b.t.Context(), endpoints(ready), metav1.UpdateOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

func rateLimit(name string) *v1alpha1.RateLimit {
	return &v1alpha1.RateLimit{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, Generation: 1},
		Spec: v1alpha1.RateLimitSpec{
			Gateways: []string{gateway.Shared}, VirtualService: "team." + name, Policy: v1alpha1.PolicyReady,
			RequestsPerSecondPerReplica: resource.MustParse("10"), Burst: metav1.Duration{Duration: 100 * time.Millisecond},
			Traffic: []v1alpha1.RevisionTraffic{{Revision: "m-1", Percent: 100}},
		},
	}
}

// aboutAnother has a RateLimit limit the virtual service of another one, m, behind
// which it would come first by name.
func aboutAnother(l *v1alpha1.RateLimit) *v1alpha1.RateLimit {
	l.Spec.VirtualService, l.Spec.RequestsPerSecondPerReplica = "team.m", resource.MustParse("1k")
	return l
}

func ofModel(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "team", Name: name, Labels: map[string]string{
		sluice.ModelLabelKey: "m", serving.RevisionLabelKey: "m-1", discoveryv1.LabelServiceName: "m-1-private",
	}}
}

func autoscaler(desired int32) *autoscalingv1alpha1.PodAutoscaler {
	return &autoscalingv1alpha1.PodAutoscaler{
		ObjectMeta: ofModel("m-1"), Status: autoscalingv1alpha1.PodAutoscalerStatus{DesiredScale: &desired},
	}
}

func endpoints(ready int) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: ofModel("m-1-private-x")}
	for i := range ready {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.0.0." + string(rune('1'+i))}})
	}
	return s
}

// inserting is what the gateway's builder writes to insert slots in that number.
func inserting(of string, slots int) *istiov1alpha3.EnvoyFilter {
	return &istiov1alpha3.EnvoyFilter{ObjectMeta: metav1.ObjectMeta{
		Namespace: gateway.Namespace, Name: fmt.Sprintf("%s-slots-%d", of, slots), Labels: gateway.PodSelector(of, slots),
	}}
}

func gatewayPod(of, name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: name, Labels: gateway.PodSelector(of, gateway.DefaultSlots)},
		Status: corev1.PodStatus{PodIP: "10.1.0.1", Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue},
		}},
	}
}

func TestLimitFollowsScale(t *testing.T) {
	t.Parallel()
	b := newBench(t, 2, rateLimit("m"))
	const slots = gateway.DefaultSlots

	b.until("the first limit", b.applied(20))
	if got := b.slotWrites(); got != slots {
		t.Errorf("%d slots written, want each of %d once", got, slots)
	}
	b.scale(3, 3)
	b.until("the limit of three replicas", b.applied(30))
	if got := b.slotWrites() - slots; got != 1 {
		t.Errorf("a change of one limit wrote %d slots, want its own", got)
	}
	b.until("an event for each limit", func() bool { return b.events() == 2 })
	var d eventing.LimitApplied
	if err := b.sent[1].DataAs(&d); err != nil || d.Old != "20" || d.New != "30" || d.Ready != 3 || d.GatewayPods != 1 {
		t.Errorf("event data = %+v, %v", d, err)
	}
	// At rest nothing is written.
	written, statuses := b.slotWrites(), writesIn(b.sluice.Actions())
	b.Look()
	b.until("the look", func() bool { return len(b.look) == 0 })
	b.Proved()
	b.until("the comparison", func() bool { return len(b.proved) == 0 })
	if b.slotWrites() != written || writesIn(b.sluice.Actions()) != statuses {
		t.Error("something was written at rest")
	}
}

func TestProvedOnEveryPodOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1, rateLimit("m"))
	b.until("the first limit", b.applied(10))
	b.set(func() { b.lagging = "shared-b" })
	if _, err := b.kube.CoreV1().Pods(gateway.Namespace).Create(t.Context(), gatewayPod(gateway.Shared, "shared-b"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("the lagging pod named", func() bool {
		l := b.limit("m").Status.Limit
		return l != nil && l.GatewayPods == 2 && l.ProvedGatewayPods == 1 && slices.Equal(l.LaggingGatewayPods, []string{"shared-b"})
	})
	if isReady(&b.limit("m").Status) {
		t.Error("Ready while a pod lags")
	}
	b.set(func() { b.lagging = "" })
	b.until("the proof on both", b.applied(10))
}

// However many scale events come, slots are written once in a burst's time, and the last
// state is what stays.
func TestStormOfScaleEvents(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1, rateLimit("m"))
	b.until("the first limit", b.applied(10))
	written, began := b.slotWrites(), time.Now()
	const events = 1000 // in a second: several bursts
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i := range events {
		<-tick.C
		if _, err := b.serving.AutoscalingV1alpha1().PodAutoscalers("team").Update(t.Context(), autoscaler(int32(i%9)), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		b.Look()
	}
	b.scale(9, 9)
	b.until("the last state", b.applied(90))
	bursts := int(time.Since(began)/burstEvery) + 2
	if got := b.slotWrites() - written; got > bursts {
		t.Errorf("%d slots written for %d events, want at most %d", got, events, bursts)
	}
}

// A route that outlives its RateLimit keeps its limit, and loses it with the route.
func TestNoRouteIsLeftWithoutItsLimit(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1, rateLimit("m"))
	b.serve(gateway.Shared, gateway.Shared, gateway.External, "./*")
	b.route(routeTo("team.m", []string{gateway.Shared}))
	b.until("the first limit", b.applied(10))
	b.until("the route in the cache", b.routed("team.m"))
	if err := b.Limits.RateLimits("team").Delete(t.Context(), "m", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("the RateLimit gone from the cache", func() bool {
		_, err := b.Caches.RateLimits.RateLimits("team").Get("m")
		return err != nil
	})
	// A second RateLimit's proof shows that a pass came after the deletion.
	other := rateLimit("other")
	if _, err := b.Limits.RateLimits("team").Create(t.Context(), other, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("a later pass", func() bool { return b.limit("other").Status.Limit != nil })
	if got := b.rates(gateway.Shared, "team.m"); len(got) != len(gateway.Entries()) {
		t.Fatalf("the route is limited to %v", got)
	}
	if err := b.istio.NetworkingV1().VirtualServices(gateway.Namespace).Delete(t.Context(), "team.m", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("the limit gone with its route", b.admits(gateway.Shared, "team.m"))
}

func TestRefusesWhatCannotBeEnforced(t *testing.T) {
	t.Parallel()
	bad := rateLimit("bad")
	bad.Spec.RequestsPerSecondPerReplica = resource.MustParse("0")
	b := newBench(t, 1, rateLimit("m"), bad, aboutAnother(rateLimit("a")))
	b.until("the first limit", b.applied(10))
	for _, name := range []string{"bad", "a"} {
		b.until("a reason for "+name, func() bool {
			c := b.limit(name).GetConditionSet().Manage(&b.limit(name).Status).GetCondition(v1alpha1.RateLimitConditionWritten)
			return c.IsFalse() && c.Reason == "InvalidSpec"
		})
	}
}

func TestReceive(t *testing.T) {
	good, err := eventing.NewRevisionScaled(eventing.RevisionScaled{
		Model: eventing.Ref{Namespace: "team", Name: "m"}, Revision: "m-1", Scale: eventing.Scale{Desired: 2, Ready: 1}, ResourceVersion: "7",
	})
	if err != nil {
		t.Fatal(err)
	}
	foreign, negative := good.Clone(), good.Clone()
	foreign.SetType("somebody.elses")
	_ = negative.SetData(cloudevents.ApplicationJSON, eventing.RevisionScaled{
		Model: eventing.Ref{Namespace: "team", Name: "m"}, Revision: "m-1", Scale: eventing.Scale{Desired: -1},
	})
	f := New()
	f.Log = zap.NewNop().Sugar()
	f.leads.Store(true)
	for name, tt := range map[string]struct {
		event cloudevents.Event
		looks int
	}{"good": {good, 1}, "another type": {foreign, 0}, "impossible": {negative, 0}} {
		t.Run(name, func(t *testing.T) {
			if err := f.Door(nil).Receive(t.Context(), tt.event); (err == nil) != (tt.looks == 1) {
				t.Errorf("Receive() = %v", err)
			}
			if got := len(f.look); got != tt.looks {
				t.Errorf("%d looks asked for, want %d", got, tt.looks)
			}
			for len(f.look) > 0 {
				<-f.look
			}
		})
	}
}
