package resources

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SharesAnnotationKey is where a slot says which shares of its limits it enforces, so
// that a limiter that takes over divides them as they were.
const SharesAnnotationKey = "sluice.dev/shares"

// Shares are the parts of limits, by virtual service, that each entry of a gateway has.
type Shares map[string][]int64

// encode writes shares with a hash for each name, some 25 bytes a limit: what an object
// holds of annotations is bounded, and far less than what it holds of limits.
func (s Shares) encode() (string, error) {
	hashed := make(map[string][]int64, len(s))
	for name, of := range s {
		hashed[hash(name)] = of
	}
	content, err := json.Marshal(hashed)
	if err != nil {
		return "", fmt.Errorf("writing shares as JSON: %w", err)
	}
	return string(content), nil
}

// WrittenShares are the shares in an object's annotation.
type WrittenShares map[string][]int64

// SharesIn reads the shares that a slot's object tells.
func SharesIn(slot metav1.Object) (WrittenShares, error) {
	return written[WrittenShares](slot, SharesAnnotationKey, "shares")
}

// written reads what a slot's object tells in an annotation; nothing where it isn't there.
func written[T any](slot metav1.Object, annotation, what string) (told T, err error) {
	content, ok := slot.GetAnnotations()[annotation]
	if !ok {
		return told, nil
	}
	if err := json.Unmarshal([]byte(content), &told); err != nil {
		var none T
		return none, fmt.Errorf("reading the %s in slot %s: %w", what, slot.GetName(), err)
	}
	return told, nil
}

// Of are the shares of a virtual service's limit, nil if there are none.
func (w WrittenShares) Of(virtualService string) []int64 { return w[hash(virtualService)] }

func hash(name string) string {
	sum := sha256.Sum256([]byte(name))
	return base64.RawURLEncoding.EncodeToString(sum[:6])
}
