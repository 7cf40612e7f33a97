package resources

import (
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

// MarksAnnotationKey is where a slot says which of its limits have a bucket for requests with
// the mark, so that a limiter that takes over leaves them theirs until it is asked for them.
// It isn't there where none has.
const MarksAnnotationKey = "sluice.dev/marks"

// marks are the virtual services whose limits have such a bucket, by their hashes as those of
// shares; "" for none.
func (s Slot) marks() (string, error) {
	hashed := sets.New[string]()
	for _, limits := range s.Limits {
		for _, l := range limits {
			if l.marked() {
				hashed.Insert(hash(l.VirtualService))
			}
		}
	}
	if hashed.Len() == 0 {
		return "", nil
	}
	content, err := json.Marshal(sets.List(hashed))
	if err != nil {
		return "", fmt.Errorf("writing marks as JSON: %w", err)
	}
	return string(content), nil
}

// WrittenMarks are those in an object's annotation.
type WrittenMarks []string

// MarksIn reads the marks that a slot's object tells.
func MarksIn(slot metav1.Object) (WrittenMarks, error) {
	return written[WrittenMarks](slot, MarksAnnotationKey, "marks")
}

// Has tells whether the limit of a virtual service has a bucket for the mark.
func (w WrittenMarks) Has(virtualService string) bool {
	return slices.Contains(w, hash(virtualService))
}
