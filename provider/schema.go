package main

import (
	"fmt"

	"github.com/pulumi/pulumi-go-provider/middleware/schema"
	pschema "github.com/pulumi/pulumi/pkg/v3/codegen/schema"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"

	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// resourcesToken is the type of the input of that name. The package's name takes
// the place of "pkg".
const resourcesToken = "pkg:index:Resources"

// GetSchema adds the inputs to what is inferred, and says what each input and
// output is.
func (p postgres) GetSchema(register schema.RegisterDerivativeType) (pschema.ResourceSpec, error) {
	spec, err := p.InferredComponent.GetSchema(register)
	if err != nil {
		return spec, err
	}
	spec.Description = "A PostgreSQL server on Kubernetes whose data outlives every change of its settings: " +
		"namespace, configuration, credentials, Services, claim and StatefulSet. It runs in the cluster that the stack's kubernetes:* settings name."
	spec.InputProperties = map[string]pschema.PropertySpec{}
	for _, setting := range settings.Table() {
		spec.InputProperties[setting.Name] = inputSpec(setting)
	}
	for _, output := range contract.OutputTable() {
		inferred, found := spec.Properties[output.Name]
		if !found {
			return spec, fmt.Errorf("output %s: the component has none of this name", output.Name)
		}
		inferred.Description = output.Description
		spec.Properties[output.Name] = inferred
	}
	register(tokens.Type(resourcesToken), resources())
	return spec, nil
}

// inputSpec describes the input of a setting. All but the password and the
// kubeconfig are plain: a preview has to know them.
func inputSpec(setting settings.Setting) pschema.PropertySpec {
	spec := pschema.PropertySpec{Description: setting.Text()}
	if setting.Type.Scalar() {
		spec.Default = setting.Default
	} else if setting.Default != nil {
		// A schema has defaults for scalars only.
		spec.Description += " Default: " + setting.DefaultText() + "."
	}
	switch setting.Type {
	case settings.TypeSecret:
		spec.TypeSpec, spec.Secret = pschema.TypeSpec{Type: "string"}, true
	case settings.TypeOutput:
		spec.TypeSpec, spec.Secret = pschema.TypeSpec{Type: "string"}, true
	case settings.TypeText, settings.TypeDuration:
		spec.TypeSpec = text
	case settings.TypeCount, settings.TypePort:
		spec.TypeSpec = pschema.TypeSpec{Type: "integer", Plain: true}
	case settings.TypeBoolean, settings.TypeSwitch:
		spec.TypeSpec = pschema.TypeSpec{Type: "boolean", Plain: true}
	case settings.TypeTexts:
		spec.TypeSpec = pschema.TypeSpec{Type: "array", Items: &text, Plain: true}
	case settings.TypeFiles:
		spec.TypeSpec = pschema.TypeSpec{Type: "object", AdditionalProperties: &text, Plain: true}
	case settings.TypeScalars:
		spec.TypeSpec = scalars
	case settings.TypeResources:
		spec.TypeSpec = pschema.TypeSpec{Ref: "#/types/" + resourcesToken, Plain: true}
	case settings.TypeAffinity:
		spec.TypeSpec = object
	case settings.TypeTolerations:
		spec.TypeSpec = pschema.TypeSpec{Type: "array", Items: &object, Plain: true}
	}
	return spec
}

var (
	text    = pschema.TypeSpec{Type: "string", Plain: true}
	scalar  = pschema.TypeSpec{OneOf: []pschema.TypeSpec{text, {Type: "number", Plain: true}, {Type: "boolean", Plain: true}}, Plain: true}
	scalars = pschema.TypeSpec{Type: "object", AdditionalProperties: &scalar, Plain: true}
	object  = pschema.TypeSpec{Type: "object", AdditionalProperties: &pschema.TypeSpec{Ref: "pulumi.json#/Any", Plain: true}, Plain: true}
)

// resources are the fields of settings.Resources.
func resources() pschema.ComplexTypeSpec {
	return pschema.ComplexTypeSpec{ObjectTypeSpec: pschema.ObjectTypeSpec{
		Type:        "object",
		Description: "Compute resources by name (cpu, memory, ephemeral-storage, hugepages-<size>), as Kubernetes quantities.",
		Properties: map[string]pschema.PropertySpec{
			"requests": {TypeSpec: scalars, Description: "What the node sets aside. Default: the limits, if any."},
			"limits":   {TypeSpec: scalars, Description: "What the server may use at most. Default: no limit."},
		},
	}}
}
