// Package probetoken keeps the random token by which a gateway knows the probes
// of this installation. Nothing that a client could guess takes its place.
package probetoken

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrs "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sluice.dev/sluice/reconciler/apis/gateway"
	"sluice.dev/sluice/reconciler/apis/sluice"
)

// Secrets is the part of a client for the Secrets of Sluice's own namespace that
// a token needs.
type Secrets interface {
	Get(ctx context.Context, name string, opts metav1.GetOptions) (*corev1.Secret, error)
	Create(ctx context.Context, secret *corev1.Secret, opts metav1.CreateOptions) (*corev1.Secret, error)
}

// Ensure returns the installation's token and makes it where there is none: 64
// hexadecimal digits in Secret gateway.ProbeTokenSecret of Sluice's own
// namespace. Two callers at once get the same one. A Secret without a usable
// token is an error and left alone.
func Ensure(ctx context.Context, secrets Secrets) (string, error) {
	secret, err := secrets.Get(ctx, gateway.ProbeTokenSecret, metav1.GetOptions{})
	if apierrs.IsNotFound(err) {
		secret, err = secrets.Create(ctx, newSecret(), metav1.CreateOptions{})
		if apierrs.IsAlreadyExists(err) {
			secret, err = secrets.Get(ctx, gateway.ProbeTokenSecret, metav1.GetOptions{})
		}
	}
	if err != nil {
		return "", fmt.Errorf("ensuring secret %s: %w", gateway.ProbeTokenSecret, err)
	}
	token := string(secret.Data[gateway.ProbeTokenKey])
	if !valid(token) {
		return "", fmt.Errorf("secret %s: key %q must hold at least 32 hexadecimal digits; delete the secret to get a new one",
			gateway.ProbeTokenSecret, gateway.ProbeTokenKey)
	}
	return token, nil
}

func newSecret() *corev1.Secret {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails: crypto/rand ends the process instead
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:   gateway.ProbeTokenSecret,
			Labels: map[string]string{sluice.ManagedByLabelKey: sluice.ManagedBy},
		},
		Type: corev1.SecretTypeOpaque,
		// Data, not StringData: the answer of a fake client is the object as sent.
		Data: map[string][]byte{gateway.ProbeTokenKey: []byte(hex.EncodeToString(random))},
	}
}

// valid also keeps out what could not stand in a path.
func valid(token string) bool {
	_, err := hex.DecodeString(token)
	return err == nil && len(token) >= 32
}
