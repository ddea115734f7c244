package workload

import (
	"errors"
	"fmt"
	"sync"

	"cel.dev/cel-go/cel"
)

const (
	// maxCost bounds the cost of one evaluation, in the units of CEL: a few milliseconds of one
	// core. A condition over the claims of a job costs below 100.
	maxCost = 50_000
	// claimsName is the name of the claims in a condition.
	claimsName = "claims"
)

// condition is an expression that is true or false of claims.
type condition struct {
	source  string
	program cel.Program
}

// environment has the standard functions and macros of CEL, and nothing with access beyond the
// expression.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(cel.Variable(claimsName, cel.MapType(cel.StringType, cel.DynType)))
})

// compile reads a condition. Its errors are sentences for an operator.
func compile(source string) (*condition, error) {
	env, err := environment()
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(source)
	if err := issues.Err(); err != nil {
		return nil, err
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		return nil, fmt.Errorf("it is %s and not true or false; compare it, as in claims.ref == \"refs/heads/main\"", ast.OutputType())
	}
	asks := false
	for _, reference := range ast.NativeRep().ReferenceMap() {
		asks = asks || reference.Name == claimsName
	}
	if !asks {
		return nil, errors.New("it asks for no claim, so that it holds for every token or for none; write it over claims, as in claims.ref == \"refs/heads/main\"")
	}
	program, err := env.Program(ast, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, err
	}
	return &condition{source, program}, nil
}

// holds refuses claims for which the condition is not true. A claim in it that is missing, or of
// another type, is an error, by the rules of CEL: an error on one side of || does not matter if
// the other side is true.
func (c *condition) holds(claims Claims) error {
	value, _, err := c.program.Eval(map[string]any{claimsName: map[string]any(claims)})
	if err != nil {
		return fmt.Errorf("%w: the condition cannot be evaluated: %w", ErrToken, err)
	}
	if value.Value() != true {
		return fmt.Errorf("%w: the condition %s does not hold", ErrToken, c.source)
	}
	return nil
}
