package expression

import (
	"regexp/syntax"
	"strings"

	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// pricing says what a call takes, at most, from its arguments. Where it has to look through them it
// ends above what is left of the budget.
type pricing func(args []ref.Val, left *budget) price

// pricings are those of the functions that make something, or whose time CEL counts only after it
// was taken. Arguments of other types than theirs fail by themselves.
var pricings = map[string]pricing{
	operators.Add: adding, overloads.TypeConvertString: copying(1), overloads.TypeConvertBytes: copying(1),
	"base64.encode": copying(2), "base64.decode": copying(1),
	"lowerAscii": copying(1), "upperAscii": copying(1), "reverse": copying(1), "substring": copying(1), "strings.quote": copying(3), urlEncodeFunction: copying(3),
	"replace": replacing, "split": splitting, "join": joining, "format": formatting,
	"indexOf": searching, "lastIndexOf": searching, overloads.Matches: matching,
	operators.Equals: comparing, operators.NotEquals: comparing, operators.In: containing,
	operators.Less: comparing, operators.LessEquals: comparing, operators.Greater: comparing, operators.GreaterEquals: comparing,
	overloads.Contains: reading, overloads.Size: reading, "trim": reading, "charAt": reading,
}

// ofBytes is the cost of going through so many bytes once.
func ofBytes(count uint64) uint64 { return 1 + count/10 }

// bytesIn is how long a string is, or bytes; 0 for all else.
func bytesIn(value ref.Val) uint64 {
	switch value := value.(type) {
	case types.String:
		return uint64(len(value))
	case types.Bytes:
		return uint64(len(value))
	}
	return 0
}

// reading goes through the first argument, and makes nothing of its size.
func reading(args []ref.Val, _ *budget) price { return price{cost: ofBytes(bytesIn(args[0]))} }

// copying makes at most so many bytes of each byte of the first argument.
func copying(times uint64) pricing {
	return func(args []ref.Val, _ *budget) price {
		count := bytesIn(args[0])
		return price{cost: ofBytes(count), made: times * count}
	}
}

// adding makes what both have. Lists are joined without a copy, but read the slower for it; CEL
// appends to that of a comprehension in place.
func adding(args []ref.Val, _ *budget) price {
	if _, ok := args[0].(traits.MutableLister); ok {
		return price{cost: 1}
	}
	if a, ok := args[0].(traits.Lister); ok {
		if b, ok := args[1].(traits.Lister); ok {
			return price{cost: 1 + (itemsIn(a)+itemsIn(b))/10, made: listBytes}
		}
	}
	made := bytesIn(args[0]) + bytesIn(args[1])
	return price{cost: ofBytes(made), made: made}
}

func itemsIn(list traits.Lister) uint64 {
	count, ok := list.Size().(types.Int)
	if !ok || count < 0 {
		return 0
	}
	return uint64(count)
}

// atMost is the count that a last argument sets, where it is there and isn't below 0.
func atMost(count uint64, args []ref.Val, at int) uint64 {
	if len(args) <= at {
		return count
	}
	if most, ok := args[at].(types.Int); ok && most >= 0 {
		return min(count, uint64(most))
	}
	return count
}

// occurrences is how often a part is in a text; that which is empty is around each character.
func occurrences(text, part ref.Val) uint64 {
	in, ok := text.(types.String)
	of, is := part.(types.String)
	if !ok || !is {
		return 0
	}
	return uint64(strings.Count(string(in), string(of)))
}

func replacing(args []ref.Val, _ *budget) price {
	count := atMost(occurrences(args[0], args[1]), args, 3)
	made := bytesIn(args[0]) - min(count*bytesIn(args[1]), bytesIn(args[0])) + count*bytesIn(args[2])
	return price{cost: ofBytes(bytesIn(args[0]) + made), made: made}
}

func splitting(args []ref.Val, _ *budget) price {
	count := atMost(occurrences(args[0], args[1])+1, args, 2)
	return price{cost: ofBytes(bytesIn(args[0])) + count, made: listBytes + 2*itemBytes*count}
}

func joining(args []ref.Val, left *budget) price {
	list, ok := args[0].(traits.Lister)
	if !ok {
		return price{cost: 1}
	}
	var separator uint64
	if len(args) > 1 {
		separator = bytesIn(args[1])
	}
	p, most := price{cost: 1}, left.left()
	for at := list.Iterator(); at.HasNext() == types.True && p.cost <= most && p.made <= maxMade; {
		p.made += bytesIn(at.Next()) + separator
		p.cost++
	}
	p.cost += ofBytes(p.made)
	return p
}

// searching compares at each place.
func searching(args []ref.Val, _ *budget) price {
	return price{cost: ofBytes(bytesIn(args[0]) * max(1, bytesIn(args[1])))}
}

// matching compiles a pattern, whose repetitions are written out, and goes through it for each byte.
func matching(args []ref.Val, _ *budget) price {
	pattern, ok := args[1].(types.String)
	if !ok {
		return price{cost: 1}
	}
	if len(pattern) > MaxText {
		return price{cost: ofBytes(bytesIn(args[1])), made: maxMade + 1}
	}
	parsed, err := syntax.Parse(string(pattern), syntax.Perl)
	if err != nil {
		return price{cost: ofBytes(bytesIn(args[1]))} // which the call says
	}
	const instruction = 64
	steps := stepsIn(parsed)
	return price{cost: steps + ofBytes(bytesIn(args[0])*steps), made: steps * instruction}
}

// stepsIn is about how many instructions a pattern comes to. What repeats does at most 1000 times,
// within one another too, or isn't parsed.
func stepsIn(of *syntax.Regexp) uint64 {
	steps := 1 + uint64(len(of.Rune))
	for _, part := range of.Sub {
		steps += stepsIn(part)
	}
	if of.Op == syntax.OpRepeat {
		steps *= uint64(max(1, of.Min, of.Max))
	}
	return steps
}

// formatting writes each of a list once.
func formatting(args []ref.Val, left *budget) price {
	w := weigher{most: left.left(), room: left.room()}
	w.weigh(args[len(args)-1])
	text := bytesIn(args[0])
	return price{cost: w.cost + ofBytes(text), made: w.text + text}
}
