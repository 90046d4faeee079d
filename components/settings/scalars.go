package settings

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// Scalars is a map whose values are texts, be they written as texts, numbers,
// true or false.
type Scalars map[string]string

// Resources are the compute resources of the server's container, by name (cpu,
// memory, ephemeral-storage, hugepages-<size>), as Kubernetes quantities.
type Resources struct {
	// Requests are what the node sets aside. Default: the limits, if any.
	Requests Scalars `json:"requests,omitempty"`
	// Limits are what the server may use at most. Default: no limit.
	Limits Scalars `json:"limits,omitempty"`
}

// asTexts is a JSON value in which numbers, true and false are texts wherever a
// type has a text: `pulumi config set --path` makes a number of what looks like
// one, and true and false of those. A number keeps every digit that was written.
func asTexts(value any, target reflect.Type) any {
	for target.Kind() == reflect.Pointer {
		target = target.Elem()
	}
	if reflect.PointerTo(target).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		// The type reads what it likes.
		return value
	}
	switch value := value.(type) {
	case json.Number:
		if target.Kind() == reflect.String {
			return value.String()
		}
	case bool:
		if target.Kind() == reflect.String {
			return strconv.FormatBool(value)
		}
	case []any:
		if target.Kind() == reflect.Slice {
			for i := range value {
				value[i] = asTexts(value[i], target.Elem())
			}
		}
	case map[string]any:
		for key := range value {
			switch target.Kind() {
			case reflect.Map:
				value[key] = asTexts(value[key], target.Elem())
			case reflect.Struct:
				if field, found := jsonField(target, key); found {
					value[key] = asTexts(value[key], field)
				}
			}
		}
	}
	return value
}

// jsonField is the type of a struct's field that JSON knows by a name.
func jsonField(target reflect.Type, name string) (reflect.Type, bool) {
	for _, field := range reflect.VisibleFields(target) {
		if tag, _, _ := strings.Cut(field.Tag.Get("json"), ","); tag == name && tag != "" {
			return field.Type, true
		}
	}
	return nil, false
}
