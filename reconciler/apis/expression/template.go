package expression

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

const (
	// MaxText bounds a text with its expressions, in bytes.
	MaxText = 8 << 10
	// MaxExpressions bounds those of one text.
	MaxExpressions = 32
	// maxCost bounds all evaluations for one event, in CEL's units: some tenth of a second.
	maxCost = 1_000_000
	// littleCost is what an event's evaluations may have however late it is, so that a process that
	// stood still fails only events that have it work.
	littleCost = maxCost / 10
	// checkEvery is after how many turns of a comprehension it is seen whether time is up.
	checkEvery = 100
	opening    = "${"
	// escaped is how an opening is written that opens nothing.
	escaped = "$" + opening
)

// Template is a text with expressions in it.
type Template struct{ parts []part }

// part is a piece of text, or an expression where program is set.
type part struct {
	text    string
	program cel.Program
	result  *cel.Type
}

// Has tells whether there is an expression in a text.
func Has(text string) bool {
	return strings.Contains(strings.ReplaceAll(text, escaped, " "), opening)
}

// Compile reads a text and compiles its expressions. The error says what of it is wrong, and how
// it would be right.
func Compile(text string) (*Template, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("must be at most %d bytes long with its expressions, has %d", MaxText, len(text))
	}
	t, expressions := &Template{}, 0
	for text != "" {
		before, rest, found := cutOpening(text)
		if before != "" {
			t.parts = append(t.parts, part{text: before})
		}
		if !found {
			break
		}
		end := closing(rest)
		if end < 0 {
			return nil, fmt.Errorf("has %q without the } that ends it; write $${ for a plain ${", opening+excerpt(rest))
		}
		if expressions++; expressions > MaxExpressions {
			return nil, fmt.Errorf("must have at most %d expressions", MaxExpressions)
		}
		compiled, err := compile(rest[:end])
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, compiled)
		text = rest[end+1:]
	}
	return t, nil
}

// cutOpening returns what is before the first expression, as it is meant, and what is behind its
// opening.
func cutOpening(text string) (before, rest string, found bool) {
	var out strings.Builder
	for {
		i := strings.Index(text, opening)
		switch {
		case i < 0:
			out.WriteString(text)
			return out.String(), "", false
		case i > 0 && text[i-1] == '$':
			out.WriteString(text[:i-1] + opening)
			text = text[i+len(opening):]
		default:
			out.WriteString(text[:i])
			return out.String(), text[i+len(opening):], true
		}
	}
}

// closing is where the } is that ends an expression, past those within it and in its strings;
// below 0 where there is none.
func closing(text string) int {
	deep := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '\'', '"':
			length := quoted(text[i:], escapes(text[:i]))
			if length < 0 {
				return -1
			}
			i += length - 1
		case '{':
			deep++
		case '}':
			if deep == 0 {
				return i
			}
			deep--
		}
	}
	return -1
}

// escapes is what takes the meaning of a quote in a string, by what is before that: nothing does in
// a raw one.
func escapes(before string) string {
	if strings.HasSuffix(before, "r") || strings.HasSuffix(before, "R") {
		return ""
	}
	return `\`
}

// quoted is how long the string is that a text begins with; below 0 where it doesn't end.
func quoted(text, escape string) int {
	quote := text[:1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(text, triple) {
		quote = triple
	}
	for i := len(quote); i < len(text); i++ {
		if escape != "" && strings.HasPrefix(text[i:], escape) {
			i++
			continue
		}
		if strings.HasPrefix(text[i:], quote) {
			return i + len(quote)
		}
	}
	return -1
}

func compile(expression string) (part, error) {
	if strings.TrimSpace(expression) == "" {
		return part{}, errors.New("has an expression that is empty; write one as in ${event.id}, or $${ for a plain ${")
	}
	env, err := environment()
	if err != nil {
		return part{}, err
	}
	ast, issues := env.Compile(expression)
	if err := issues.Err(); err != nil {
		return part{}, fmt.Errorf("${%s}: %s", excerpt(expression), problems(issues))
	}
	program, err := env.Program(ast, cel.CostLimit(maxCost), cel.CustomDecorator(paid), cel.InterruptCheckFrequency(checkEvery))
	if err != nil {
		return part{}, fmt.Errorf("${%s}: %w", excerpt(expression), err)
	}
	return part{text: expression, program: program, result: ast.OutputType()}, nil
}

// problems are what CEL says is wrong, in one line, with the place in the expression.
func problems(issues *cel.Issues) string {
	const most = 3
	var said []string
	for i, e := range issues.Errors() {
		if i == most {
			said = append(said, "…")
			break
		}
		said = append(said, fmt.Sprintf("%s (at %d:%d)", e.Message, e.Location.Line(), e.Location.Column()+1))
	}
	return strings.Join(said, "; ")
}

// excerpt is the beginning of a text, to know it again.
func excerpt(text string) string {
	const longest = 80
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > longest {
		return strings.ToValidUTF8(text[:longest], "") + "…"
	}
	return text
}

// whole is the only part of a template that is one expression and nothing else.
func (t *Template) whole() (part, bool) {
	if len(t.parts) == 1 && t.parts[0].program != nil {
		return t.parts[0], true
	}
	return part{}, false
}

// CheckText returns why the text can't come to one for whatever event: the types of its
// expressions say so.
func (t *Template) CheckText() error {
	for _, p := range t.parts {
		if p.program == nil || p.result.IsAssignableType(cel.StringType) {
			continue
		}
		remedy := "choose what of it is meant"
		if convertible(p.result) {
			remedy = fmt.Sprintf("write ${string(%s)}", excerpt(p.text))
		}
		return fmt.Errorf("${%s} is of type %s, and must be string; %s", excerpt(p.text), p.result, remedy)
	}
	return nil
}

func convertible(t *cel.Type) bool {
	for _, of := range []*cel.Type{cel.IntType, cel.UintType, cel.DoubleType, cel.BoolType, cel.BytesType, cel.TimestampType, cel.DurationType} {
		if t.IsExactType(of) {
			return true
		}
	}
	return false
}

// CheckBody returns why the text can't come to the body of a request, for whatever event.
func (t *Template) CheckBody() error {
	p, ok := t.whole()
	if !ok {
		return t.CheckText()
	}
	switch p.result.Kind() {
	case types.OpaqueKind, types.TypeKind:
		return fmt.Errorf("${%s} is of type %s, which can't be written as JSON; choose what of it is meant", excerpt(p.text), p.result)
	}
	return nil
}

// Text evaluates the text for an event, to at most so many bytes. What all the event's texts cost is
// bounded together. The error wraps the context's where that ended it.
func (t *Template) Text(ctx context.Context, e *Event, most int) (string, error) {
	var out strings.Builder
	for _, p := range t.parts {
		text := p.text
		if p.program != nil {
			value, err := p.evaluate(ctx, e)
			if err != nil {
				return "", err
			}
			said, ok := value.(types.String)
			if !ok {
				return "", fmt.Errorf("${%s} is of type %s, and must be string", excerpt(p.text), value.Type().TypeName())
			}
			text = string(said)
		}
		if out.Len()+len(text) > most {
			return "", fmt.Errorf("comes to more than %d bytes", most)
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

// Body is that of a request.
type Body struct {
	Content []byte
	// ContentType is what the content is, by itself.
	ContentType string
}

const (
	json  = "application/json"
	plain = "text/plain; charset=utf-8"
	// octets is said of bytes, of which nothing else is known.
	octets = "application/octet-stream"
)

// Body evaluates the text to a body of at most so many bytes: one expression alone to JSON,
// unless it is a string or bytes, and all else to text. Its bounds are those of Text.
func (t *Template) Body(ctx context.Context, e *Event, most int) (Body, error) {
	p, ok := t.whole()
	if !ok {
		text, err := t.Text(ctx, e, most)
		if err != nil {
			return Body{}, err
		}
		return Body{Content: []byte(text), ContentType: ofText(text)}, nil
	}
	value, err := p.evaluate(ctx, e)
	if err != nil {
		return Body{}, err
	}
	switch value := value.(type) {
	case types.String:
		if len(value) > most {
			return Body{}, fmt.Errorf("comes to more than %d bytes", most)
		}
		return Body{Content: []byte(value), ContentType: plain}, nil
	case types.Bytes:
		if len(value) > most {
			return Body{}, fmt.Errorf("comes to more than %d bytes", most)
		}
		return Body{Content: value, ContentType: octets}, nil
	}
	content, err := asJSON(value, most)
	if err != nil {
		return Body{}, fmt.Errorf("${%s} %w", excerpt(p.text), err)
	}
	return Body{Content: content, ContentType: json}, nil
}

func (p part) evaluate(ctx context.Context, e *Event) (ref.Val, error) {
	value, err := p.evaluateWithin(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("${%s}: %w", excerpt(p.text), err)
	}
	return value, nil
}

func (p part) evaluateWithin(ctx context.Context, e *Event) (ref.Val, error) {
	if err := ctx.Err(); err != nil && e.budget.spent.cost > littleCost {
		return nil, fmt.Errorf("the expressions of the event have taken too long: %w", err)
	}
	value, details, err := p.program.ContextEval(ctx, map[string]any{eventVariable: e, budgetVariable: &e.budget})
	if err != nil {
		return nil, err
	}
	if cost := details.ActualCost(); cost != nil {
		e.budget.spent.cost += *cost
	}
	return value, e.budget.check()
}
