package expression

import (
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// weigher goes through all that is in a value. What a value has may be shared, so it may come to
// far more than was paid for it: a weigher ends above a cost, or a room for its text.
type weigher struct {
	most, room uint64
	// cost is in CEL's units, and text what the value comes to as text, in bytes, at most.
	cost, text uint64
}

// What scalars come to as text, in bytes: a double may have 308 digits and a fraction.
const doubleText, scalarText, aroundText = 512, 64, 4

func (w *weigher) over() bool { return w.cost > w.most || w.text > w.room }

func (w *weigher) weigh(value ref.Val) {
	w.cost++
	w.text += aroundText
	switch value := value.(type) {
	case types.String, types.Bytes:
		w.cost += bytesIn(value) / 10
		w.text += 3 * bytesIn(value) // in hexadecimal, or with what isn't UTF-8 replaced
	case types.Double:
		w.text += doubleText
	case *types.Optional:
		if value.HasValue() {
			w.weigh(value.GetValue())
		}
	case traits.Mapper:
		for at := value.Iterator(); at.HasNext() == types.True && !w.over(); {
			key := at.Next()
			w.weigh(key)
			w.weigh(value.Get(key))
		}
	case traits.Lister:
		for at := value.Iterator(); at.HasNext() == types.True && !w.over(); {
			w.weigh(at.Next())
		}
	default:
		w.text += scalarText
	}
}
