package tenancy

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"sluice.dev/sluice/reconciler/apis/sluice/v1alpha1"
)

func tenant(name string, created int64, holds ...string) *v1alpha1.Tenant {
	t := &v1alpha1.Tenant{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(created, 0))}}
	for _, namespace := range holds {
		t.Status.Namespaces = append(t.Status.Namespaces, v1alpha1.TenantNamespace{Name: namespace})
	}
	return t
}

func TestOf(t *testing.T) {
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	if _, err := Of(indexer, "x"); err == nil {
		t.Error("no error without the index")
	}
	for range 2 { // once for each controller of the process
		if err := Index(indexer); err != nil {
			t.Fatal(err)
		}
	}
	for _, tenant := range []*v1alpha1.Tenant{tenant("young", 2, "x", "y"), tenant("old", 1, "x"), tenant("older", 0)} {
		if err := indexer.Add(tenant); err != nil {
			t.Fatal(err)
		}
	}
	for namespace, want := range map[string]string{"x": "old", "y": "young", "z": ""} {
		got, err := Of(indexer, namespace)
		if err != nil {
			t.Fatal(err)
		}
		name := ""
		if got != nil {
			name = got.Name
		}
		if name != want {
			t.Errorf("%s is %q's, want %q's", namespace, name, want)
		}
	}
}

func TestBefore(t *testing.T) {
	a, b, later := tenant("a", 1), tenant("b", 1), tenant("0", 2)
	for _, test := range []struct {
		first, second *v1alpha1.Tenant
	}{{a, b}, {a, later}, {b, later}} {
		if !Before(test.first, test.second) || Before(test.second, test.first) {
			t.Errorf("%s doesn't come before %s", test.first.Name, test.second.Name)
		}
	}
}

// Neighbours are the Models of all namespaces of the tenant, and of none where there is none.
func TestNeighbours(t *testing.T) {
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	if err := Index(indexer); err != nil {
		t.Fatal(err)
	}
	if err := indexer.Add(tenant("acme", 1, "x", "y")); err != nil {
		t.Fatal(err)
	}
	neighbours := Neighbours(indexer, func(namespace string) ([]*v1alpha1.Model, error) {
		return []*v1alpha1.Model{{ObjectMeta: metav1.ObjectMeta{Namespace: namespace}}}, nil
	})
	of, models, err := neighbours("y")
	if err != nil || of == nil || of.Name != "acme" || len(models) != 2 || models[0].Namespace != "x" {
		t.Errorf("in y: %v, %v, %v", of, models, err)
	}
	if of, models, err := neighbours("z"); err != nil || of != nil || models != nil {
		t.Errorf("in z: %v, %v, %v", of, models, err)
	}
}
