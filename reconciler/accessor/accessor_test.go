package accessor

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubefake "k8s.io/client-go/kubernetes/fake"
	clientgotesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

// secret is one of the owner's.
func secret(changes ...func(*corev1.Secret)) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "gateways", Name: "pair", UID: "seen", Labels: map[string]string{sluice.ManagedByLabelKey: sluice.ManagedBy},
		},
		Data: map[string][]byte{"key": []byte("value")},
	}
	for _, change := range changes {
		change(s)
	}
	return s
}

func labelled(key, value string) func(*corev1.Secret) {
	return func(s *corev1.Secret) { s.Labels[key] = value }
}

func annotated(key, value string) func(*corev1.Secret) {
	return func(s *corev1.Secret) { metav1.SetMetaDataAnnotation(&s.ObjectMeta, key, value) }
}

func edited(s *corev1.Secret) { s.Data["key"] = []byte("other") }

func foreign(s *corev1.Secret) { s.Labels = map[string]string{sluice.ManagedByLabelKey: "another"} }

func immutable(s *corev1.Secret) { s.Immutable = new(bool) }

// kindOf is of Secrets of which the cache has one, or none, over a client.
func kindOf(cached *corev1.Secret, client *kubefake.Clientset) Kind[*corev1.Secret] {
	return Kind[*corev1.Secret]{
		Name: "Secret",
		Get: func(name string) (*corev1.Secret, error) {
			if cached == nil {
				return nil, apierrs.NewNotFound(corev1.Resource("secrets"), name)
			}
			return cached, nil
		},
		Client:  client.CoreV1().Secrets("gateways"),
		Owner:   Labelled(map[string]string{sluice.ManagedByLabelKey: sluice.ManagedBy}),
		Content: Content[*corev1.Secret]{Adopt: func(existing, desired *corev1.Secret) { existing.Data = desired.Data }},
	}
}

func clientWith(live *corev1.Secret) *kubefake.Clientset {
	if live == nil {
		return kubefake.NewSimpleClientset()
	}
	return kubefake.NewSimpleClientset(live.DeepCopy())
}

func verbs(client *kubefake.Clientset) []string {
	var out []string
	for _, action := range client.Actions() {
		out = append(out, action.GetVerb())
	}
	return out
}

func TestEnsure(t *testing.T) {
	t.Parallel()
	tenant := sluice.TenantLabelKey
	for _, test := range []struct {
		name         string
		cached, live *corev1.Secret
		desired      *corev1.Secret
		want         *corev1.Secret
		verbs        []string
		unchanged    bool
	}{{
		name: "what isn't there is created", desired: secret(), want: secret(), verbs: []string{"create"},
	}, {
		name: "what is as desired is left", cached: secret(), live: secret(), desired: secret(), want: secret(), unchanged: true,
	}, {
		name:   "so is what others added",
		cached: secret(labelled("team", "a"), annotated("note", "b"), immutable), live: secret(), desired: secret(),
		want: secret(labelled("team", "a"), annotated("note", "b"), immutable), unchanged: true,
	}, {
		name:   "ours wins, and theirs stays beside it",
		cached: secret(labelled("team", "a"), annotated("note", "b"), labelled(tenant, "blue"), immutable, edited), live: secret(),
		desired: secret(labelled(tenant, "red"), annotated("mode", "c")),
		want:    secret(labelled("team", "a"), annotated("note", "b"), annotated("mode", "c"), labelled(tenant, "red"), immutable),
		verbs:   []string{"update"},
	}, {
		name:   "a label or an annotation of ours that isn't desired any more goes",
		cached: secret(labelled(tenant, "blue"), annotated("sluice.dev/old", "x"), annotated("note", "b")), live: secret(), desired: secret(),
		want: secret(annotated("note", "b")), verbs: []string{"update"},
	}, {
		name: "one that a cache doesn't have yet is left as it is",
		live: secret(), desired: secret(), want: secret(), verbs: []string{"create", "get"},
	}, {
		name: "or brought back",
		live: secret(edited, labelled("team", "a")), desired: secret(), want: secret(labelled("team", "a")),
		verbs: []string{"create", "get", "update"},
	}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client, cached, desired := clientWith(test.live), test.cached.DeepCopy(), test.desired.DeepCopy()
			got, changed, err := kindOf(cached, client).Ensure(t.Context(), desired)
			if err != nil || changed == test.unchanged {
				t.Errorf("changed %t, error %v", changed, err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error("(-want, +got):", diff)
			}
			if diff := cmp.Diff(test.verbs, verbs(client)); diff != "" {
				t.Error("verbs (-want, +got):", diff)
			}
			if diff := cmp.Diff([]*corev1.Secret{test.cached, test.desired}, []*corev1.Secret{cached, desired}); diff != "" {
				t.Error("the cache's object or the desired one was changed (-want, +got):", diff)
			}
		})
	}
}

// What is another's is never written, be it in the cache or left out by it.
func TestNotOwned(t *testing.T) {
	t.Parallel()
	const want = "Secret gateways/pair exists and is not labelled app.kubernetes.io/managed-by=sluice: delete or rename it"
	for name, cached := range map[string]*corev1.Secret{"seen by the cache": secret(foreign), "left out by it": nil} {
		client := clientWith(secret(foreign))
		_, changed, err := kindOf(cached, client).Ensure(t.Context(), secret())
		var other *NotOwnedError
		if !errors.As(err, &other) || err.Error() != want || changed {
			t.Errorf("%s: changed %t, error %v", name, changed, err)
		}
		if slices.Contains(verbs(client), "update") {
			t.Errorf("%s: wrote %v", name, verbs(client))
		}
		if gone, err := kindOf(cached, client).Remove(t.Context(), "pair"); !gone || err != nil || slices.Contains(verbs(client), "delete") {
			t.Errorf("%s: gone %t, error %v, did %v", name, gone, err, verbs(client))
		}
	}
}

func TestControlledBy(t *testing.T) {
	t.Parallel()
	owner := &metav1.ObjectMeta{Name: "ranker", UID: "mine"}
	controlledBy := func(uid types.UID) *corev1.Secret {
		return secret(func(s *corev1.Secret) {
			s.OwnerReferences = []metav1.OwnerReference{{Name: "ranker", UID: uid, Controller: ptr.To(true)}}
		})
	}
	for uid, want := range map[types.UID]bool{"mine": true, "of the one before": false} {
		if got := ControlledBy(owner).Owns(controlledBy(uid)); got != want {
			t.Errorf("controlled by %q: owned %t", uid, got)
		}
	}
	if ControlledBy(owner).Owns(secret()) {
		t.Error("owned without a controller")
	}
}

// Who went by what was there before can tell that it has changed since.
func TestOvertaken(t *testing.T) {
	t.Parallel()
	client := clientWith(secret())
	if _, changed, err := kindOf(nil, client).Write(t.Context(), nil, secret(edited)); !apierrs.IsAlreadyExists(err) || changed {
		t.Errorf("created what is there: changed %t, error %v", changed, err)
	}
	client.PrependReactor("update", "secrets", func(clientgotesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrs.NewConflict(corev1.Resource("secrets"), "pair", errors.New("changed since"))
	})
	if _, changed, err := kindOf(secret(), client).Ensure(t.Context(), secret(edited)); !apierrs.IsConflict(err) || changed {
		t.Errorf("updated what has changed: changed %t, error %v", changed, err)
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	going := func(s *corev1.Secret) { s.DeletionTimestamp = &metav1.Time{} }
	for _, test := range []struct {
		name         string
		cached, live *corev1.Secret
		gone         bool
		verbs        []string
	}{
		{name: "what is there is deleted", cached: secret(), live: secret(), verbs: []string{"delete"}},
		{name: "what is going isn't deleted again", cached: secret(going), live: secret()},
		{name: "what is gone by now is fine", cached: secret(), verbs: []string{"delete"}},
		{name: "what isn't there is gone", gone: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client := clientWith(test.live)
			kind := kindOf(test.cached, client)
			kind.Propagation = metav1.DeletePropagationForeground
			gone, err := kind.Remove(t.Context(), "pair")
			if gone != test.gone || err != nil || !slices.Equal(verbs(client), test.verbs) {
				t.Fatalf("gone %t, error %v, did %v", gone, err, verbs(client))
			}
			for _, action := range client.Actions() {
				opts := action.(clientgotesting.DeleteActionImpl).DeleteOptions
				if opts.Preconditions == nil || *opts.Preconditions.UID != types.UID("seen") {
					t.Error("another of that name would be deleted")
				}
				if *opts.PropagationPolicy != metav1.DeletePropagationForeground {
					t.Error("it would be gone before what depends on it")
				}
			}
		})
	}
}

// A cache that can't be read is no reason to write.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	client := clientWith(secret())
	kind := kindOf(nil, client)
	kind.Get = func(string) (*corev1.Secret, error) { return nil, context.DeadlineExceeded }
	_, _, errEnsure := kind.Ensure(t.Context(), secret())
	gone, errRemove := kind.Remove(t.Context(), "pair")
	if !errors.Is(errEnsure, context.DeadlineExceeded) || !errors.Is(errRemove, context.DeadlineExceeded) || gone || len(client.Actions()) > 0 {
		t.Errorf("errors %v and %v, gone %t, did %v", errEnsure, errRemove, gone, verbs(client))
	}
}

// What the API server fills in is no difference, what somebody changed or added to a list is.
func TestDefaulted(t *testing.T) {
	t.Parallel()
	content := Defaulted(func(p *corev1.Pod) *corev1.PodSpec { return &p.Spec })
	desired := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "proxy", Image: "envoy"}}}}
	for name, test := range map[string]struct {
		change func(*corev1.PodSpec)
		same   bool
	}{
		"nothing":     {change: func(*corev1.PodSpec) {}, same: true},
		"filled in":   {change: func(s *corev1.PodSpec) { s.DNSPolicy, s.Containers[0].TerminationMessagePath = "Default", "/dev/log" }, same: true},
		"changed":     {change: func(s *corev1.PodSpec) { s.Containers[0].Image = "other" }},
		"one more":    {change: func(s *corev1.PodSpec) { s.Containers = append(s.Containers, corev1.Container{Name: "extra"}) }},
		"none at all": {change: func(s *corev1.PodSpec) { s.Containers = nil }},
	} {
		existing := desired.DeepCopy()
		test.change(&existing.Spec)
		if content.Same(existing, desired) != test.same {
			t.Errorf("%s: same is %t", name, !test.same)
		}
		if content.Adopt(existing, desired); !content.Same(existing, desired) {
			t.Errorf("%s: still differs once it is adopted", name)
		}
	}
}

func TestServiceKeepsWhatTheClusterChose(t *testing.T) {
	t.Parallel()
	desired := &corev1.Service{Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, Selector: map[string]string{"app": "a"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "https", Port: 443}},
	}}
	existing := desired.DeepCopy()
	existing.Spec.ClusterIP, existing.Spec.Ports = "10.0.0.1", []corev1.ServicePort{{Name: "https", Port: 8443, NodePort: 30443}, {Name: "old", Port: 1, NodePort: 30001}}
	existing.Spec.Selector = map[string]string{"app": "b"}
	want := desired.DeepCopy()
	want.Spec.ClusterIP, want.Spec.Ports[1].NodePort = "10.0.0.1", 30443
	Service().Adopt(existing, desired.DeepCopy())
	if diff := cmp.Diff(want, existing); diff != "" {
		t.Error("(-want, +got):", diff)
	}
}
