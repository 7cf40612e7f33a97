//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

var (
	reading = []string{"get", "list", "watch"}
	writing = []string{"create", "update", "patch", "delete", "deletecollection"}
)

// rights are the verbs that somebody may use on each resource of Sluice's, and on those
// that aren't named none.
type rights map[string][]string

// tried are all of them.
var tried = []string{"models", "models/status", "models/scale", "ratelimits", "ratelimits/status", "tenants", "tenants/status"}

// People may do by Kubernetes' own roles what these say elsewhere, in the namespace for
// which they have them: nobody writes a RateLimit or a status, and Tenants are the
// operator's.
func TestRightsOfPeople(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	view := rights{
		"models": reading, "models/status": reading, "models/scale": reading, "ratelimits": reading, "ratelimits/status": reading,
	}
	edit := rights{
		"models": slices.Concat(reading, writing), "models/status": reading, "models/scale": append([]string{"update", "patch"}, reading...),
		"ratelimits": reading, "ratelimits/status": reading,
	}
	for role, has := range map[string]rights{"view": view, "edit": edit, "admin": edit} {
		user := s.namespace + "-" + role
		s.made(s.Kube.RbacV1().RoleBindings(s.namespace).Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: user}, RoleRef: roleRef(role), Subjects: []rbacv1.Subject{userNamed(user)},
		}, metav1.CreateOptions{}))
		s.has(user, s.namespace, has)
		for _, elsewhere := range []authorizationv1.ResourceAttributes{
			ofSluice(sluice.SystemNamespace, "get", "models"),
			ofSluice(sluice.SystemNamespace, "create", "models"),
			{Namespace: sluice.SystemNamespace, Verb: "create", Group: "eventing.knative.dev", Resource: "triggers"},
		} {
			if allowed, err := s.may(t.Context(), user, elsewhere); err != nil || allowed {
				t.Errorf("%s in another namespace: %+v: %t, %v", role, elsewhere, allowed, err)
			}
		}
	}
	for role, has := range map[string]rights{
		"sluice-tenants-view":  {"tenants": reading, "tenants/status": reading},
		"sluice-tenants-admin": {"tenants": slices.Concat(reading, writing), "tenants/status": reading},
	} {
		user := s.namespace + "-" + role
		bindings := s.Kube.RbacV1().ClusterRoleBindings()
		s.made(bindings.Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: user}, RoleRef: roleRef(role), Subjects: []rbacv1.Subject{userNamed(user)},
		}, metav1.CreateOptions{}))
		t.Cleanup(func() {
			if err := bindings.Delete(context.Background(), user, metav1.DeleteOptions{}); err != nil {
				t.Error("taking a role back:", err)
			}
		})
		s.has(user, s.namespace, has)
	}
	// Whoever resolves references reads Models.
	for _, resolver := range []string{
		"system:serviceaccount:knative-serving:controller",
		"system:serviceaccount:" + eventingNamespace + ":eventing-controller",
		"system:serviceaccount:" + eventingNamespace + ":eventing-webhook",
	} {
		for _, verb := range reading {
			if allowed, err := s.may(t.Context(), resolver, ofSluice(s.namespace, verb, "models")); err != nil || !allowed {
				t.Errorf("%s may %s Models: %t, %v", resolver, verb, allowed, err)
			}
		}
	}
}

func roleRef(role string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}
}

func userNamed(user string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}
}

// has waits until somebody has these rights and no others.
func (s *stage) has(user, namespace string, what rights) {
	s.Helper()
	s.until(refusedWithin, "the rights of "+user, func(ctx context.Context) (string, error) {
		var errs []error
		for _, resource := range tried {
			for _, verb := range slices.Concat(reading, writing) {
				allowed, err := s.may(ctx, user, ofSluice(namespace, verb, resource))
				if err != nil {
					return "", err
				}
				if want := slices.Contains(what[resource], verb); allowed != want {
					errs = append(errs, fmt.Errorf("may %s %s: %t, want %t", verb, resource, allowed, want))
				}
			}
		}
		if len(errs) > 0 {
			return errors.Join(errs...).Error(), nil
		}
		return "", nil
	})
}

func ofSluice(namespace, verb, resource string) authorizationv1.ResourceAttributes {
	of := authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Group: sluice.GroupName}
	of.Resource, of.Subresource, _ = strings.Cut(resource, "/")
	if of.Resource == "tenants" {
		of.Namespace = "" // they are in none
	}
	return of
}
