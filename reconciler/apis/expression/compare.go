package expression

import (
	"math"

	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// operator is what CEL does without a binding; nil for what has one.
func operator(name string) implementation {
	switch name {
	case operators.Equals:
		return func(args []ref.Val) ref.Val { return types.Equal(args[0], args[1]) }
	case operators.NotEquals:
		return func(args []ref.Val) ref.Val { return types.Bool(types.Equal(args[0], args[1]) != types.True) }
	}
	return nil
}

// comparing goes through both arguments to the end of the lighter one. CEL counts the outermost
// list or map alone, but for the lengths of strings, which it takes by their characters.
func comparing(args []ref.Val, left *budget) price {
	a, b := args[0], args[1]
	if alike(a, b) {
		return price{cost: 1 + 2*lighter(a, b, left.left())}
	}
	shorter := min(bytesIn(a), bytesIn(b))
	return price{cost: ofBytes(shorter) + (bytesIn(a)+bytesIn(b))/100}
}

// alike tells whether two values are compared by what is in them.
func alike(a, b ref.Val) bool {
	switch a := a.(type) {
	case *types.Optional:
		b, ok := b.(*types.Optional)
		return ok && a.HasValue() && b.HasValue()
	case traits.Mapper:
		b, ok := b.(traits.Mapper)
		return ok && a.Size().Equal(b.Size()) == types.True
	case traits.Lister:
		b, ok := b.(traits.Lister)
		return ok && a.Size().Equal(b.Size()) == types.True
	}
	return false
}

// lighter is the cost of going through the lighter of two values, or above what it may be at most.
// It takes turns, so that its own time is bounded by the lighter one too.
func lighter(a, b ref.Val, most uint64) uint64 {
	const first = 64
	for bound := min(first, most); ; bound = min(2*bound, most) {
		for _, value := range []ref.Val{a, b} {
			if cost := weight(value, bound); cost <= bound {
				return cost
			}
		}
		if bound == most {
			return most + 1
		}
	}
}

// weight is the cost of going through a value, or above what it may be at most.
func weight(value ref.Val, most uint64) uint64 {
	w := weigher{most: most, room: math.MaxUint64}
	w.weigh(value)
	return w.cost
}

// containing compares the first argument with each of a list; in a map it is looked up.
func containing(args []ref.Val, left *budget) price {
	most := left.left()
	own := weight(args[0], most)
	list, ok := args[1].(traits.Lister)
	if !ok || own > most {
		return price{cost: own}
	}
	all := itemsIn(list) * own
	if all > most {
		all = min(all, weight(list, most))
	}
	return price{cost: own + all}
}
