// Package components holds the Postgres component: a PostgreSQL server on
// Kubernetes whose data outlives every change of its settings.
//
// What can be set is in settings, what is wrong with it in problem, what each
// object is in internal/objects, what is looked at beforehand in internal/observe
// and what is refused in internal/conflict. docs/architecture.md has the picture.
package components

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/components/internal/conflict"
	"stateful-postgres/components/internal/objects"
	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/problem"
	"stateful-postgres/components/settings"
)

// componentType is the component's type token in the state.
const componentType = "stateful-postgres:index:Postgres"

// PostgresArgs are the settings of a Postgres component. See docs/settings.md.
type PostgresArgs = settings.Args

// InvalidSettings is everything that is wrong with the settings, found before
// anything was changed.
type InvalidSettings = problem.Error

// NewPostgres declares a PostgreSQL server. Settings that cannot work, and those
// that do not fit the data that is there, are returned together as
// *InvalidSettings before anything is declared. args may be nil.
func NewPostgres(ctx *pulumi.Context, name string, args *PostgresArgs, opts ...pulumi.ResourceOption) (*Postgres, error) {
	if args == nil {
		args = &PostgresArgs{}
	}
	set := args.WithDefaults()
	if err := problem.AsError(set.Invalid(), set.Reader()); err != nil {
		return nil, err
	}
	way, err := observe.FindWay(ctx, set)
	if err != nil {
		return nil, err
	}
	seen, err := observe.Stack(ctx, way, set, componentType, name)
	if err != nil {
		return nil, err
	}
	manager := objects.FieldManager(ctx.Project(), ctx.Stack(), name)
	if err := problem.AsError(conflict.Find(set, seen, manager), set.Reader()); err != nil {
		return nil, err
	}
	for _, warning := range conflict.Warnings(set, seen) {
		if err := ctx.Log.Warn(warning, nil); err != nil {
			return nil, err
		}
	}
	description, err := objects.Describe(set, seen, manager)
	if err != nil {
		return nil, err
	}
	description.Preview = ctx.DryRun()

	p := &Postgres{}
	if err := ctx.RegisterComponentResource(componentType, name, p, opts...); err != nil {
		return nil, fmt.Errorf("component %s: %w", name, err)
	}
	made, err := declare(ctx, name, p, description, way)
	if err != nil {
		return nil, err
	}
	p.setOutputs(description, made, way)
	return p, ctx.RegisterResourceOutputs(p, p.Outputs())
}
