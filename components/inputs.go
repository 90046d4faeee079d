package components

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// ArgsFromInputs reads the inputs of a component in a program of any language.
// They have the names of the settings, and are read as these are. All but the
// password have to be known at preview, or the program could not refuse what
// does not fit the data; the password is also given as the output that it may
// be. Whatever is invalid is returned together, as InvalidSettings.
func ArgsFromInputs(inputs property.Map, password pulumi.StringInput) (*PostgresArgs, error) {
	var args PostgresArgs
	var found InvalidSettings
	for name, value := range inputs.AllStable {
		if value.IsNull() {
			continue
		}
		if wrong := readInput(&args, name, value, password); wrong != nil {
			found = append(found, *wrong)
		}
	}
	return &args, found.andOf(args).ForProgram().orNil()
}

func readInput(args *PostgresArgs, name string, value property.Value, password pulumi.StringInput) *InvalidSetting {
	read, known := settings[name]
	text, err := inputText(value)
	switch {
	case !known:
		if value.HasSecrets() {
			text = "a secret"
		}
		return invalid(name, text, "one of the settings "+oneOf(slices.Sorted(maps.Keys(settings))), unset(name))
	case name == "password":
		return readPasswordInput(args, value, password)
	case value.HasComputed():
		return &InvalidSetting{
			Setting: name, Value: "a value that is not known yet", Expected: "one that is known at preview",
			Fix: "take it from the stack's config, or write it into the program",
		}
	case value.HasSecrets():
		return &InvalidSetting{
			Setting: name, Value: "a secret", Expected: "a value that may be seen, because it is stored in plain text",
			Fix: "only password may be a secret",
		}
	case err != nil:
		return &InvalidSetting{Setting: name, Value: err.Error(), Expected: "a value as in YAML", Fix: unset(name)}
	}
	return read(args, text)
}

// readPasswordInput takes an output that is known only later; the Secret is not
// made of it when it turns out to be invalid.
func readPasswordInput(args *PostgresArgs, value property.Value, password pulumi.StringInput) *InvalidSetting {
	switch {
	case value.IsComputed():
	case !value.IsString():
		return &InvalidSetting{Setting: "password", Value: "one that is no text", Expected: "a secret text", Fix: unset("password")}
	case value.AsString() == "":
		return nil
	case !value.Secret():
		return &InvalidSetting{
			Setting: "password", Value: "one in plain text", Expected: "a secret",
			Fix: "make it one in the program, like fn::secret in YAML or pulumi.secret in TypeScript, or take it from the secret config",
		}
	default:
		if wrong := checkPassword(value.AsString()); wrong != nil {
			return wrong
		}
	}
	args.Password = password
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
