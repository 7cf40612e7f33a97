package receiver

import (
	"testing"

	"pgregory.net/rapid"
)

func TestMayAct(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		from      Origin
		namespace string
		may       bool
	}{
		{"Sluice's own, of anybody's", Origin{Delivered: "sluice-system", Source: "team"}, "team", true},
		{"Sluice's own, without a source", Origin{Delivered: "sluice-system"}, "team", true},
		{"Sluice's own, of what is in no namespace", Origin{Delivered: "sluice-system"}, "", true},
		{"one namespace of another, by Sluice's Broker", Origin{Delivered: "sluice-system", Source: "rival"}, "team", false},
		{"a namespace of its own", Origin{Delivered: "team", Source: "team"}, "team", true},
		{"a namespace of another", Origin{Delivered: "rival"}, "team", false},
		{"a namespace that says it is another", Origin{Delivered: "rival", Source: "team"}, "team", false},
		{"a namespace of what is in none", Origin{Delivered: "team"}, "", false},
		{"nobody", Origin{}, "", false},
		{"nobody, of somebody's", Origin{}, "team", false},
	} {
		if err := MayAct(c.from, c.namespace); (err == nil) != c.may {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// What an event says of itself gives no right to what its deliverer has none to.
func TestSourcesGiveNoRights(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SampledFrom([]string{"", "team", "rival", "sluice-system"})
		delivered, source, namespace := names.Draw(t, "delivered"), names.Draw(t, "source"), names.Draw(t, "namespace")
		if MayAct(Origin{delivered, source}, namespace) == nil && MayAct(Origin{Delivered: delivered}, namespace) != nil {
			t.Fatal("a source gave a right")
		}
		if MayAct(Origin{delivered, source}, namespace) == nil && delivered != "sluice-system" && (delivered != namespace || namespace == "") {
			t.Fatal("another's")
		}
	})
}

func TestNamespaceOf(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"/apis/serving.knative.dev/v1/namespaces/team/revisions/m-1": "team",
		"/apis/v1/namespaces/team":                                   "team", "https://elsewhere.example": "", "": "",
	} {
		if got := namespaceOf(source); got != want {
			t.Errorf("%q: %q, want %q", source, got, want)
		}
	}
}
