package warmup

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// Keyring is a directory of what a pod's image pull secrets hold: <n>.json for each Docker
// configuration, <n>.dockercfg for each in the older form; an empty one has none. It is
// read whenever something is pulled.
//
// Keys fit as the kubelet has it (k8s.io/kubernetes/pkg/credentialprovider): they name a
// registry, by globs of its labels, and may go on with the beginning of a path.
// go-containerregistry has the same (pkg/authn/kubernetes), and a test holds this against
// it; but it would bring client-go into every replica, and make the image three times as
// large.
type Keyring string

// credential is one key of a configuration.
type credential struct {
	// registry and path are what it is for.
	registry, path string
	auth           authn.AuthConfig
}

// of returns the keys that fit a repository, the most specific first; where there are
// none, it is asked without.
func (k Keyring) of(repository name.Repository) ([]authn.Authenticator, error) {
	credentials, err := k.read()
	if err != nil {
		return nil, err
	}
	var fitting []authn.Authenticator
	for _, c := range credentials {
		if c.fits(repository) {
			fitting = append(fitting, authn.FromConfig(c.auth))
		}
	}
	if len(fitting) == 0 {
		return []authn.Authenticator{authn.Anonymous}, nil
	}
	return fitting, nil
}

func (k Keyring) read() ([]credential, error) {
	if k == "" {
		return nil, nil
	}
	files, err := filepath.Glob(filepath.Join(string(k), "[0-9]*.*"))
	if err != nil {
		return nil, fmt.Errorf("finding the image pull secrets: %w", err)
	}
	var all []credential
	for _, file := range files {
		auths, err := decode(file)
		if err != nil {
			return nil, err
		}
		for _, key := range slices.Sorted(maps.Keys(auths)) {
			all = append(all, newCredential(key, auths[key]))
		}
	}
	slices.SortStableFunc(all, func(a, b credential) int { return cmp.Compare(b.registry+b.path, a.registry+a.path) })
	return all, nil
}

func decode(file string) (map[string]authn.AuthConfig, error) {
	content, err := os.ReadFile(file) //nolint:gosec // one of the pod's own
	if err != nil {
		return nil, fmt.Errorf("reading an image pull secret: %w", err)
	}
	var config struct {
		Auths map[string]authn.AuthConfig `json:"auths"`
	}
	if filepath.Ext(file) == ".json" {
		err = json.Unmarshal(content, &config)
	} else {
		err = json.Unmarshal(content, &config.Auths)
	}
	if err != nil {
		return nil, fmt.Errorf("decoding an image pull secret: %w", err)
	}
	return config.Auths, nil
}

// newCredential reads a key: a registry, with or without a scheme and a path, of which
// the API's own version is none.
func newCredential(key string, auth authn.AuthConfig) credential {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	registry, below, _ := strings.Cut(key, "/")
	for _, version := range []string{"v1/", "v2/"} {
		if rest, ok := strings.CutPrefix(below, version); ok {
			below = rest
			break
		}
	}
	if below != "" {
		below = "/" + below
	}
	return credential{registry: registry, path: below, auth: auth}
}

func (c credential) fits(repository name.Repository) bool {
	globs, port := labels(c.registry)
	of, at := labels(repository.RegistryStr())
	if port != at || len(globs) != len(of) || !strings.HasPrefix("/"+repository.RepositoryStr(), c.path) {
		return false
	}
	for i, glob := range globs {
		if ok, err := path.Match(glob, of[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// labels are those of a registry's name, and its port.
func labels(registry string) (of []string, port string) {
	host, port, err := net.SplitHostPort(registry)
	if err != nil {
		host, port = registry, ""
	}
	return strings.Split(host, "."), port
}
