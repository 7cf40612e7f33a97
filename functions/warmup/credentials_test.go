package warmup

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/authn/kubernetes"
	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

// secret is an image pull secret with one key, for a user of that name.
func secret(key, user string) string {
	return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, key, base64.StdEncoding.EncodeToString([]byte(user+":secret")))
}

// fataler is a test, or one run of a property's.
type fataler interface{ Fatal(args ...any) }

// keyring keeps secrets as a pod has them.
func keyring(t fataler, dir string, secrets ...string) Keyring {
	for i, content := range secrets {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.json", i)), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Keyring(dir)
}

// The first key that is tried is the one that go-containerregistry would take, which goes
// by the kubelet's rules.
func TestKeysFitAsTheKubeletHasIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	label := rapid.SampledFrom([]string{"a", "b", "*", "b*", "bb"})
	path := rapid.SampledFrom([]string{"", "/", "/team", "/team/", "/team/models", "/teams", "/v1/", "/v2/team", "/other"})
	port := rapid.SampledFrom([]string{"", ":5000"})
	key := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"", "https://", "http://"}).Draw(t, "scheme") +
			strings.Join(rapid.SliceOfN(label, 2, 3).Draw(t, "labels"), ".") + port.Draw(t, "port") + path.Draw(t, "path")
	})
	fits := 0
	rapid.Check(t, func(t *rapid.T) {
		var contents []string
		var secrets []corev1.Secret
		for i, k := range rapid.SliceOfN(key, 1, 6).Draw(t, "keys") {
			contents = append(contents, secret(k, fmt.Sprint("user", i)))
			secrets = append(secrets, corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(contents[i])}})
		}
		for i := len(contents); i < 6; i++ {
			contents = append(contents, "{}")
		}
		host := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "bb"}), 2, 3).Draw(t, "host"), ".")
		repository, err := name.NewRepository(host + port.Draw(t, "of") + rapid.SampledFrom([]string{"/team/corpus", "/team/models/corpus", "/corpus"}).Draw(t, "repository"))
		if err != nil {
			t.Fatal(err)
		}
		chain, err := kubernetes.NewFromPullSecrets(context.Background(), secrets)
		if err != nil {
			t.Fatal(err)
		}
		want, err := chain.Resolve(repository)
		if err != nil {
			t.Fatal(err)
		}
		got, err := keyring(t, dir, contents...).of(repository)
		if err != nil {
			t.Fatal(err)
		}
		if user, wanted := userOf(t, got[0]), userOf(t, want); user != wanted {
			t.Errorf("%s is asked as %q, want %q", repository, user, wanted)
		} else if user != "" {
			fits++
		}
	})
	if fits == 0 {
		t.Error("no key ever fitted")
	}
}

func userOf(t fataler, by authn.Authenticator) string {
	auth, err := by.Authorization()
	if err != nil {
		t.Fatal(err)
	}
	return auth.Username
}
