package warmup

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/authn"
)

// keys is a Docker configuration, as an image pull secret holds it.
type keys struct{ file string }

// Resolve implements authn.Keychain: by registry, as the secret names it.
func (k keys) Resolve(of authn.Resource) (authn.Authenticator, error) {
	content, err := os.ReadFile(k.file)
	if err != nil {
		return nil, fmt.Errorf("reading an image pull secret: %w", err)
	}
	var config struct {
		Auths map[string]authn.AuthConfig `json:"auths"`
	}
	if err := json.Unmarshal(content, &config); err != nil {
		return nil, fmt.Errorf("decoding an image pull secret: %w", err)
	}
	for _, registry := range []string{of.String(), of.RegistryStr(), "https://" + of.RegistryStr(), "https://" + of.RegistryStr() + "/v1/"} {
		if auth, ok := config.Auths[registry]; ok {
			return authn.FromConfig(auth), nil
		}
	}
	return authn.Anonymous, nil
}
