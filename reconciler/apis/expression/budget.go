package expression

import (
	"fmt"
	"sync"

	"github.com/google/cel-go/common/functions"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

const (
	// maxMade bounds what the expressions of one event make of strings, bytes, lists and maps, in
	// bytes.
	maxMade = 16 << 20
	// budgetVariable is no name that an expression can have.
	budgetVariable = "#budget"
	// listBytes, mapBytes, itemBytes and entryBytes are about what lists and maps take.
	listBytes, mapBytes, itemBytes, entryBytes = 96, 256, 16, 64
)

// price is what a call takes: cost in CEL's units, and what it makes in bytes.
type price struct{ cost, made uint64 }

// budget is what the expressions of one event have spent. CEL counts the cost of a call after it,
// and no memory at all, so calls that may take much of either are paid before.
type budget struct{ spent price }

// left is the cost that may still be spent.
func (b *budget) left() uint64 { return maxCost - min(b.spent.cost, maxCost) }

// room is what may still be made, in bytes.
func (b *budget) room() uint64 { return maxMade - min(b.spent.made, maxMade) }

// check returns what of the budget is overspent.
func (b *budget) check() error {
	if b.spent.made > maxMade {
		return fmt.Errorf("the expressions of one event may make at most %d bytes of strings and lists, and would make more; take less of the event", uint64(maxMade))
	}
	if b.spent.cost > maxCost {
		return fmt.Errorf("the expressions of one event may have a cost of at most %d, and would have more; take less of the event", uint64(maxCost))
	}
	return nil
}

// spend ends the evaluation where the budget doesn't suffice, as CEL's own limit does: an error
// as a value could be passed over by || or &&.
func (b *budget) spend(p price) {
	b.spent.cost += p.cost
	b.spent.made += p.made
	if err := b.check(); err != nil {
		panic(interpreter.EvalCancelledError{Cause: interpreter.CostLimitExceeded, Message: err.Error()})
	}
}

func budgetIn(vars interpreter.Activation) *budget {
	if value, ok := vars.ResolveName(budgetVariable); ok {
		if b, ok := value.(*budget); ok {
			return b
		}
	}
	return &budget{spent: price{cost: maxCost, made: maxMade}}
}

// paid has calls, lists and maps paid before they are made.
func paid(step interpreter.Interpretable) (interpreter.Interpretable, error) {
	switch step := step.(type) {
	case interpreter.InterpretableConstructor:
		return paidConstructor{step, constructorPrice(step)}, nil
	case interpreter.InterpretableCall:
		pricing, ok := pricings[step.Function()]
		if !ok {
			return step, nil
		}
		all, err := implementations()
		if err != nil {
			return nil, err
		}
		return paidCall{step, step.Args(), pricing, all[step.Function()]}, nil
	}
	return step, nil
}

type paidConstructor struct {
	interpreter.InterpretableConstructor
	price price
}

func (c paidConstructor) Eval(vars interpreter.Activation) ref.Val {
	budgetIn(vars).spend(c.price)
	return c.InterpretableConstructor.Eval(vars)
}

func constructorPrice(of interpreter.InterpretableConstructor) price {
	count := uint64(len(of.InitVals()))
	if of.Type() == types.ListType {
		return price{cost: 1 + count/10, made: listBytes + itemBytes*count}
	}
	return price{cost: 1 + count/10, made: mapBytes + entryBytes*count/2}
}

type paidCall struct {
	interpreter.InterpretableCall
	args    []interpreter.Interpretable
	pricing pricing
	call    implementation
}

func (c paidCall) Eval(vars interpreter.Activation) ref.Val {
	args := make([]ref.Val, len(c.args))
	for i, arg := range c.args {
		if args[i] = arg.Eval(vars); types.IsUnknownOrError(args[i]) {
			return args[i]
		}
	}
	b := budgetIn(vars)
	b.spend(c.pricing(args, b))
	return types.LabelErrNode(c.ID(), c.call(args))
}

// implementation is what a function does, for all types that it has.
type implementation func(args []ref.Val) ref.Val

// implementations are those of the functions that are paid before.
var implementations = sync.OnceValues(func() (map[string]implementation, error) {
	env, err := environment()
	if err != nil {
		return nil, err
	}
	known, out := env.Functions(), map[string]implementation{}
	for name := range pricings {
		if out[name] = operator(name); out[name] != nil {
			continue
		}
		function, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("preparing CEL: there is no function %q", name)
		}
		bindings, err := function.Bindings()
		if err != nil {
			return nil, fmt.Errorf("preparing CEL: %w", err)
		}
		for _, b := range bindings {
			if b.Operator == name {
				out[name] = implementationOf(b)
			}
		}
		if out[name] == nil {
			return nil, fmt.Errorf("preparing CEL: nothing is bound to the function %q", name)
		}
	}
	return out, nil
})

func implementationOf(b *functions.Overload) implementation {
	return func(args []ref.Val) ref.Val {
		if b.OperandTrait != 0 && !args[0].Type().HasTrait(b.OperandTrait) {
			return types.MaybeNoSuchOverloadErr(args[0])
		}
		switch {
		case len(args) == 1 && b.Unary != nil:
			return b.Unary(args[0])
		case len(args) == 2 && b.Binary != nil:
			return b.Binary(args[0], args[1])
		case b.Function != nil:
			return b.Function(args...)
		}
		if receiver, ok := args[0].(traits.Receiver); ok {
			return receiver.Receive(b.Operator, "", args[1:])
		}
		return types.MaybeNoSuchOverloadErr(args[0])
	}
}
