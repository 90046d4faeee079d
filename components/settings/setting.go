// Package settings says what can be set about a Postgres component: the table of
// all settings, how they are read from a stack's config or from a program's
// inputs, and what is checked of each.
//
// A setting is one entry of Table. `make generate` makes everything else from
// it: the fields of Args, the config section of Pulumi.yaml, docs/settings.md and
// the schema of the component package.
package settings

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"stateful-postgres/components/problem"
)

// Setting is one entry of the table.
type Setting struct {
	// Name is the setting's name in the stack's config, and that of the input.
	Name string
	// Type says how a value is written and read.
	Type Type
	// Unit is what the value is counted or written in, "" where that says nothing.
	Unit string
	// Default is the value of a setting that is not set, as it is written; nil
	// where that is no value.
	Default any
	// Otherwise says what holds when nothing is set, where Default is nil.
	Otherwise string
	// Description is one sentence or two, without the default.
	Description string
	Change      Change
	// ChangeNote says more about a change, "" where there is no more to say.
	ChangeNote string

	// expected says what a valid value is, for one that cannot even be read.
	expected string
	// empty says that an empty text is read like no value at all.
	empty bool
	// check says what is wrong with a value that could be read, nil when nothing
	// is. It may look at the other settings, too.
	check func(a Args, value any) *problem.Problem
}

// on is the check of a setting whose field has the type T.
func on[T any](check func(a Args, value T) *problem.Problem) func(Args, any) *problem.Problem {
	return func(a Args, value any) *problem.Problem { return check(a, value.(T)) }
}

// Type is the type of a setting's value, in the words of the settings page.
type Type string

// The types of settings. Scalars are numbers, true and false, and texts, which
// all are taken as texts.
const (
	TypeText        Type = "text"
	TypeSecret      Type = "secret text"
	TypeOutput      Type = "text that may be known later"
	TypeDuration    Type = "duration"
	TypeCount       Type = "integer"
	TypePort        Type = "port"
	TypeBoolean     Type = "true or false"
	TypeSwitch      Type = "true, false or not set"
	TypeTexts       Type = "list of texts"
	TypeFiles       Type = "map of texts"
	TypeScalars     Type = "map of scalars"
	TypeResources   Type = "requests and limits"
	TypeAffinity    Type = "map as in Kubernetes"
	TypeTolerations Type = "list of maps as in Kubernetes"
)

// Scalar says whether a value of the type is a single one.
func (t Type) Scalar() bool {
	switch t {
	case TypeText, TypeSecret, TypeOutput, TypeDuration, TypeCount, TypePort, TypeBoolean, TypeSwitch:
		return true
	}
	return false
}

// List says whether a value of the type is a list.
func (t Type) List() bool { return t == TypeTexts || t == TypeTolerations }

// GoType is the type of the field of Args.
func (t Type) GoType() string {
	switch t {
	case TypeSecret, TypeOutput:
		return "pulumi.StringInput"
	case TypeDuration:
		return "time.Duration"
	case TypeCount:
		// A pointer, because 0 is a value of its own.
		return "*int"
	case TypePort:
		return "int"
	case TypeBoolean:
		return "bool"
	case TypeSwitch:
		// A pointer, because not set is a choice of its own.
		return "*bool"
	case TypeTexts:
		return "[]string"
	case TypeFiles:
		return "map[string]string"
	case TypeScalars:
		return "Scalars"
	case TypeResources:
		return "Resources"
	case TypeAffinity:
		return "*corev1.Affinity"
	case TypeTolerations:
		return "[]corev1.Toleration"
	default:
		return "string"
	}
}

// Change is what the change of a setting does to a running server.
type Change string

// What the change of a setting does.
const (
	ChangeNothing Change = "nothing"
	ChangeReload  Change = "reload"
	ChangeRestart Change = "restart"
	ChangeScale   Change = "start or stop"
	ChangeGrow    Change = "grows in place"
	ChangeRefused Change = "refused"
)

// changes are sentences.
var changes = map[Change]string{
	ChangeNothing: "A change does nothing to the running server.",
	ChangeReload:  "The running server takes a change over.",
	ChangeRestart: "A change restarts the server.",
	ChangeScale:   "A change starts or stops the server.",
	ChangeGrow:    "A change to a larger one lets the volume grow in place.",
	ChangeRefused: "Cannot change later.",
}

// Text is the whole description: what the setting is, how it is written, what
// holds without it where that is no value, and what a change does.
func (s Setting) Text() string {
	parts := []string{s.Description}
	if s.Unit != "" {
		parts = append(parts, "Unit: "+s.Unit+".")
	}
	if s.Otherwise != "" {
		parts = append(parts, "Default: "+s.Otherwise+".")
	}
	parts = append(parts, changes[s.Change])
	if s.ChangeNote != "" {
		parts = append(parts, s.ChangeNote)
	}
	return strings.Join(parts, " ")
}

// DefaultText is what holds when the setting is not set.
func (s Setting) DefaultText() string {
	switch value := s.Default.(type) {
	case nil:
		return s.Otherwise
	case []string:
		return strings.Join(value, ", ")
	default:
		return fmt.Sprint(value)
	}
}

// Field is the name of the setting's field of Args.
func (s Setting) Field() string {
	name := strings.ToUpper(s.Name[:1]) + s.Name[1:]
	// As Go writes initials.
	return strings.NewReplacer("Tls", "TLS", "Uid", "UID").Replace(name)
}

// field is the setting's field of args, which can be set.
func (s Setting) field(a *Args) reflect.Value {
	return reflect.ValueOf(a).Elem().FieldByName(s.Field())
}

// remedy is what to do about a value that cannot be read.
func (s Setting) remedy() problem.Remedy {
	if s.Default == nil {
		return problem.Remove(s.Name)
	}
	return problem.SetTo(s.Name, s.DefaultText())
}

// invalid is a problem with a value of the setting.
func (s Setting) invalid(value string) *problem.Problem {
	return problem.New(s.Name, value, s.expected, s.remedy())
}

// find is the setting of a name.
func find(name string) (Setting, bool) {
	for _, setting := range Table() {
		if setting.Name == name {
			return setting, true
		}
	}
	return Setting{}, false
}

// WithDefaults is a copy in which every field that has a default is set.
func (a Args) WithDefaults() Args {
	for _, setting := range Table() {
		if field := setting.field(&a); setting.Default != nil && field.IsZero() {
			// The table's defaults are valid, which a test shows.
			_ = setting.read(&a, setting.DefaultText())
		}
	}
	return a
}

// Invalid is everything that is wrong with args, whose defaults are set, in the
// order of the settings' names: what could not be read, and what cannot work.
func (a Args) Invalid() []problem.Problem {
	found := slices.Clone(a.unread)
	for _, setting := range Table() {
		if setting.check == nil {
			continue
		}
		if wrong := setting.check(a, setting.field(&a).Interface()); wrong != nil {
			found = append(found, *wrong)
		}
	}
	problem.Sort(found)
	return found
}

// Reader is who reads messages about these settings.
func (a Args) Reader() problem.Reader { return a.reader }
