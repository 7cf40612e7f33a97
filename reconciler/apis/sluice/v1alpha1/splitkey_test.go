package v1alpha1

import (
	"strings"
	"testing"
)

func TestSplitKey(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		key *SplitKey
		// annotation that it is written as, or else part of the error.
		annotation, wrong string
	}{
		"none":             {},
		"header":           {key: &SplitKey{Header: "X-User-Id"}, annotation: "header:x-user-id"},
		"cookie":           {key: &SplitKey{Cookie: "Uid"}, annotation: "cookie:Uid"},
		"neither":          {key: &SplitKey{}, wrong: "cookie, header"},
		"both":             {key: &SplitKey{Header: "a", Cookie: "b"}, wrong: "expected exactly one, got both: cookie, header"},
		"no header name":   {key: &SplitKey{Header: "x user"}, wrong: "header"},
		"pseudo header":    {key: &SplitKey{Header: ":path"}, wrong: "header"},
		"no cookie name":   {key: &SplitKey{Cookie: "uid;"}, wrong: "cookie"},
		"too long":         {key: &SplitKey{Cookie: strings.Repeat("u", 129)}, wrong: "cookie"},
		"of a connection":  {key: &SplitKey{Header: "Connection"}, wrong: "does not tell callers apart"},
		"the whole cookie": {key: &SplitKey{Header: "Cookie"}, wrong: "named by cookie"},
		"Knative's":        {key: &SplitKey{Header: "K-Proxy-Request"}, wrong: "the gateway removes"},
		"our own":          {key: &SplitKey{Header: "sluice-warm-up"}, wrong: "the gateway removes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := test.key.validate()
			if test.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), test.wrong) {
					t.Fatalf("error %v, want one that says %q", err, test.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := test.key.String(); got != test.annotation {
				t.Errorf("annotation %q, want %q", got, test.annotation)
			}
			again, wrong := ParseSplitKey(test.annotation)
			if wrong != nil || again.String() != test.annotation || (again == nil) != (test.key == nil) {
				t.Errorf("read again: %+v, error %v", again, wrong)
			}
		})
	}
	for _, annotation := range []string{"user", "header:", "cookie:a b", "query:user", "header:Host"} {
		if key, err := ParseSplitKey(annotation); err == nil {
			t.Errorf("%q was read as %+v, want an error", annotation, key)
		}
	}
}
