package resources

import (
	"encoding/json"
	"fmt"
	"math"

	"sluice.dev/sluice/reconciler/apis/gateway"
)

// longestFill is a fill interval that is written with more digits than any that is used.
const longestFill = "100000000.000s"

const (
	// ShareBytes is what a limit's shares take of the slot's object, at most.
	ShareBytes = 40
	// markBytes is what its name takes there among those that have a bucket for the mark.
	markBytes = 16
)

// Bytes is what a limit takes of its slot's object at one entry, at most: with the
// longest numbers, so that a limit that changes doesn't come to need more room.
func (l Limit) Bytes() int {
	if l.marked() {
		return l.descriptorBytes(unmarked) + l.descriptorBytes(byBatch) + markBytes
	}
	return l.descriptorBytes("")
}

// descriptorBytes is what the descriptor takes that is for one kind of mark, or for any.
func (l Limit) descriptorBytes(mark string) int {
	second := `{"key":"` + requestKey + `","value":"` + byClient + `"}`
	if l.Cluster != "" {
		second = `{"key":"` + clusterKey + `","value":` + quoted(l.Cluster) + `}`
	}
	if mark != "" {
		second += `,{"key":"` + markKey + `","value":"` + mark + `"}`
	}
	return len(fmt.Sprintf(
		`{"entries":[{"key":%q,"value":%s},%s],"token_bucket":{"fill_interval":%q,"max_tokens":%d,"tokens_per_fill":%d}},`,
		modelKey, quoted(gateway.VirtualServiceMetadata(l.VirtualService)), second, longestFill, uint32(math.MaxUint32), uint32(math.MaxUint32)))
}

// quoted is a string as JSON has it.
func quoted(text string) string {
	out, _ := json.Marshal(text) // a string can always be written
	return string(out)
}
