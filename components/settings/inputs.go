package settings

import (
	"encoding/json"
	"reflect"
	"strconv"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/components/problem"
)

// FromInputs reads the inputs of a component in a program of any language. They
// have the names of the settings, and are read as these are. All but the
// password and the kubeconfig have to be known at preview, or the program could
// not refuse what does not fit the data; tracked gives these two as the outputs
// that they may be, by name. What cannot be read is among what Args.Invalid
// returns.
func FromInputs(inputs property.Map, tracked map[string]pulumi.StringInput) *Args {
	args := Args{reader: problem.Program}
	for name, value := range inputs.AllStable {
		if value.IsNull() {
			continue
		}
		if wrong := readInput(&args, name, value, tracked[name]); wrong != nil {
			args.unread = append(args.unread, *wrong)
		}
	}
	return &args
}

func readInput(args *Args, name string, value property.Value, tracked pulumi.StringInput) *problem.Problem {
	setting, known := find(name)
	text, err := inputText(value)
	switch {
	case !known:
		if value.HasSecrets() {
			text = "a secret"
		}
		return unknown(name, text)
	case setting.Type == TypeSecret:
		return setting.readSecretInput(args, value, tracked)
	case setting.Type == TypeOutput:
		return setting.readOutputInput(args, value, tracked)
	case value.HasComputed():
		return &problem.Problem{
			Setting: name, Got: "a value that is not known yet", Expected: "one that is known at preview",
			Remedies: []problem.Remedy{problem.Do("take it from the stack's config, or write it into the program")},
		}
	case value.HasSecrets():
		return &problem.Problem{
			Setting: name, Got: "a secret", Expected: "a value that may be seen, because it is stored in plain text",
			Remedies: []problem.Remedy{problem.Do("only password and kubeconfig may be secrets")},
		}
	case err != nil:
		return &problem.Problem{Setting: name, Got: err.Error(), Expected: "a value as in YAML", Remedies: []problem.Remedy{problem.Remove(name)}}
	}
	return setting.read(args, text)
}

// readSecretInput takes an output that is known only later; the Secret is not
// made of it when it turns out to be invalid.
func (s Setting) readSecretInput(args *Args, value property.Value, secret pulumi.StringInput) *problem.Problem {
	switch {
	case value.IsComputed():
	case !value.IsString():
		return &problem.Problem{Setting: s.Name, Got: "one that is no text", Expected: "a secret text", Remedies: []problem.Remedy{problem.Remove(s.Name)}}
	case value.AsString() == "":
		return nil
	case !value.Secret():
		return &problem.Problem{
			Setting: s.Name, Got: "one in plain text", Expected: "a secret",
			Remedies: []problem.Remedy{problem.Do("make it one in the program, like fn::secret in YAML or pulumi.secret in TypeScript, or take it from the secret config")},
		}
	default:
		if wrong := PasswordProblem(value.AsString()); wrong != nil {
			return wrong
		}
	}
	s.field(args).Set(reflect.ValueOf(secret))
	return nil
}

// readOutputInput takes an output that is known only later, secret or not.
func (s Setting) readOutputInput(args *Args, value property.Value, output pulumi.StringInput) *problem.Problem {
	switch {
	case value.IsComputed():
	case !value.IsString():
		return &problem.Problem{Setting: s.Name, Got: "one that is no text", Expected: "a text", Remedies: []problem.Remedy{problem.Remove(s.Name)}}
	case value.AsString() == "":
		return nil
	}
	s.field(args).Set(reflect.ValueOf(output))
	return nil
}

// inputText is a value as the stack's config would hold it: scalars as texts,
// all else as JSON.
func inputText(value property.Value) (string, error) {
	switch {
	case value.IsString():
		return value.AsString(), nil
	case value.IsNumber():
		return strconv.FormatFloat(value.AsNumber(), 'f', -1, 64), nil
	case value.IsBool():
		return strconv.FormatBool(value.AsBool()), nil
	}
	text, err := json.Marshal(resource.ToResourcePropertyValue(value).Mappable())
	return string(text), err
}
