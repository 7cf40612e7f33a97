package callers

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v3"
)

// keysEvery is the usual least time between two readings of the keys: a token of a key that isn't
// known has them read again, and anybody can write one.
const keysEvery = 10 * time.Second

// errAway is that of a call of which nobody can be told, since the API server says nothing.
var errAway = errors.New("the API server doesn't tell who issues tokens")

// keys are those that the API server signs tokens by, as they were read last.
type keys struct {
	read func(context.Context) ([]crypto.PublicKey, error)
	// every is the least time between two readings.
	every time.Duration

	mu    sync.Mutex
	known oidc.StaticKeySet
	at    time.Time
	err   error
}

// unread is the key of the place, in a check's context, for why the keys that it needs weren't
// read: go-oidc hands no error on.
type unread struct{}

// VerifySignature implements oidc.KeySet.
func (k *keys) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	claims, err := k.known.VerifySignature(ctx, token)
	if err == nil {
		return claims, nil
	}
	if time.Since(k.at) >= k.every {
		k.at = time.Now()
		var read []crypto.PublicKey
		if read, k.err = k.read(ctx); k.err == nil {
			k.known.PublicKeys = read
		}
		claims, err = k.known.VerifySignature(ctx, token)
	}
	if why, ok := ctx.Value(unread{}).(*error); ok && err != nil {
		*why = k.err
	}
	return claims, err
}

// get reads a JSON document of the API server.
func (k *Known) get(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.server.JoinPath(path).String(), http.NoBody)
	if err != nil {
		return fmt.Errorf("%w: %w", errAway, err)
	}
	answer, err := k.client.Do(request)
	if err != nil {
		return fmt.Errorf("%w: %w", errAway, err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s answers %s", errAway, path, answer.Status)
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, answer.Body, 1<<20)).Decode(into); err != nil {
		return fmt.Errorf("%w: reading %s: %w", errAway, path, err)
	}
	return nil
}

// publicKeys reads those that tokens are signed by.
func (k *Known) publicKeys(ctx context.Context) ([]crypto.PublicKey, error) {
	var set jose.JSONWebKeySet
	if err := k.get(ctx, keysPath, &set); err != nil {
		return nil, err
	}
	all := make([]crypto.PublicKey, 0, len(set.Keys))
	for _, key := range set.Keys {
		all = append(all, key.Key)
	}
	return all, nil
}
