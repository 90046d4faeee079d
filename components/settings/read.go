package settings

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/components/problem"
)

// FromConfig reads the settings of a project from the whole config of its stack,
// whose keys have the form "project:setting"; isSecret tells which of them are
// stored encrypted. What cannot be read, unknown settings among it, is among what
// Args.Invalid returns.
func FromConfig(project string, config map[string]string, isSecret func(key string) bool) *Args {
	args := Args{reader: problem.CommandLine}
	for _, key := range slices.Sorted(maps.Keys(config)) {
		name, own := strings.CutPrefix(key, project+":")
		if !own {
			continue
		}
		setting, known := find(name)
		if !known {
			args.unread = append(args.unread, *unknown(name, config[key]))
			continue
		}
		if wrong := setting.read(&args, config[key]); wrong != nil {
			args.unread = append(args.unread, *wrong)
		} else if setting.Type == TypeSecret && config[key] != "" && !isSecret(key) {
			args.unread = append(args.unread, problem.Problem{
				Setting: name, Got: "one in plain text", Expected: "a secret",
				Remedies: []problem.Remedy{problem.ChoosingSecret(name, "set it")},
			})
		}
	}
	return &args
}

// unknown is the problem of a setting that does not exist.
func unknown(name, value string) *problem.Problem {
	return problem.New(name, value, "one of the settings "+problem.OneOf(names()), problem.Remove(name))
}

// names are the names of all settings, sorted.
func names() []string {
	var all []string
	for _, setting := range Table() {
		all = append(all, setting.Name)
	}
	slices.Sort(all)
	return all
}

// read reads a value as the stack's config holds it, and sets the field. A value
// that cannot be read leaves the field as it is.
func (s Setting) read(a *Args, value string) *problem.Problem {
	if s.empty && value == "" {
		return nil
	}
	field := s.field(a)
	switch s.Type {
	case TypeText:
		if value == "" && s.Default != nil {
			// Not the default in silence: whoever sets nothing on purpose means
			// something else, and an empty variable is a mistake.
			return s.check(Args{}.WithDefaults(), value)
		}
		// Taken as it is, and judged later.
		field.SetString(value)
	case TypeSecret:
		field.Set(reflect.ValueOf(pulumi.ToSecret(pulumi.String(value)).(pulumi.StringOutput)))
		return PasswordProblem(value)
	case TypeOutput:
		field.Set(reflect.ValueOf(pulumi.ToSecret(pulumi.String(value)).(pulumi.StringOutput)))
	case TypeDuration:
		duration, err := time.ParseDuration(value)
		if err != nil || duration == 0 {
			return s.invalid(value)
		}
		field.SetInt(int64(duration))
	case TypeCount:
		number, err := strconv.Atoi(value)
		if err != nil {
			return s.invalid(value)
		}
		field.Set(reflect.ValueOf(&number))
	case TypePort:
		number, err := strconv.Atoi(value)
		if err != nil || number == 0 {
			return s.invalid(value)
		}
		field.SetInt(int64(number))
	case TypeBoolean, TypeSwitch:
		if value != "true" && value != "false" {
			return s.invalid(value)
		}
		on := value == "true"
		if s.Type == TypeSwitch {
			field.Set(reflect.ValueOf(&on))
		} else {
			field.SetBool(on)
		}
	case TypeTexts:
		if s.Default != nil && !strings.HasPrefix(value, "[") {
			field.Set(reflect.ValueOf(words(value)))
		} else if wrong := s.readJSON(field, value); wrong != nil {
			return wrong
		}
		if s.Default != nil && field.Len() == 0 {
			return s.invalid(value)
		}
	default:
		return s.readJSON(field, value)
	}
	return nil
}

// words are what is easier to type than a list: names with commas between them.
func words(value string) []string {
	var all []string
	for word := range strings.SplitSeq(value, ",") {
		if word = strings.TrimSpace(word); word != "" {
			all = append(all, word)
		}
	}
	return all
}

// readJSON reads a map or a list, which Pulumi hands over as JSON. A key that
// means nothing is refused, or a misspelled one would go unnoticed.
func (s Setting) readJSON(field reflect.Value, value string) *problem.Problem {
	if value == "" || value == "{}" || value == "[]" {
		return nil
	}
	var parsed any
	decoder := json.NewDecoder(strings.NewReader(value))
	decoder.UseNumber()
	if err := decoder.Decode(&parsed); err != nil {
		return s.invalid(value)
	}
	text, err := json.Marshal(asTexts(parsed, field.Type()))
	if err != nil {
		return s.invalid(value)
	}
	object := reflect.New(field.Type())
	decoder = json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(object.Interface()); err != nil {
		return s.invalid(value)
	}
	field.Set(object.Elem())
	return nil
}
