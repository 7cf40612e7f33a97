package gateway

import (
	"strconv"

	"sluice.dev/sluice/reconciler/apis/sluice"
)

// SlotBytes is what the limits of a slot may take of its object, as JSON. etcd, as it
// comes, takes no request above 1.5 MiB: from there on no limit of the slot could
// change. What is left is for the rest of the object.
const SlotBytes = 1280 << 10

// ClaimedAnnotationKey is on every slot: the bytes that the limits which belong in it
// take, those that it has no room for too. By it the gateway's builder knows when more
// slots are needed.
const ClaimedAnnotationKey = sluice.GroupName + "/claimed-bytes"

// ClaimedOf is what a slot's annotations tell of its limits' bytes, 0 if they tell
// nothing.
func ClaimedOf(annotations map[string]string) int {
	n, err := strconv.Atoi(annotations[ClaimedAnnotationKey])
	if err != nil {
		return 0
	}
	return max(0, n)
}
