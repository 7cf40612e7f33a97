package gateway

import "testing"

// A name is read as it is written.
func TestRouteName(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]RouteName{
		"acme/shop/ranker":          {Tenant: "acme", Namespace: "shop", Name: "ranker"},
		"-/shop/ranker":             {Namespace: "shop", Name: "ranker"},
		"-/shop/a.example.com":      {Namespace: "shop", Name: "a.example.com"},
		"acme/shop/ranker/split":    {Tenant: "acme", Namespace: "shop", Name: "ranker", Kind: Splitting},
		"acme/shop/ranker/redirect": {Tenant: "acme", Namespace: "shop", Name: "ranker", Kind: Redirecting},
	} {
		if got, ok := ParseRouteName(text); !ok || got != want || want.String() != text {
			t.Errorf("%q was read as %+v, %v, and is written %q", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "default", "sluice-probe.shop.ranker", "a/b", "a/b/c/", "/b/c", "a/b/c/d/e"} {
		if got, ok := ParseRouteName(text); ok {
			t.Errorf("%q was read as %+v", text, got)
		}
	}
}
