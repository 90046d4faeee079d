package components

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// settings are the keys of the stack's config, and how each is read. A value
// that cannot be read leaves the field at its default and is returned.
var settings = map[string]func(a *PostgresArgs, value string) *InvalidSetting{
	"namespace":         text(func(a *PostgresArgs) *string { return &a.Namespace }),
	"replicas":          readReplicas,
	"image":             text(func(a *PostgresArgs) *string { return &a.Image }),
	"storage":           text(func(a *PostgresArgs) *string { return &a.Storage }),
	"storageClass":      text(func(a *PostgresArgs) *string { return &a.StorageClass }),
	"volumeName":        text(func(a *PostgresArgs) *string { return &a.VolumeName }),
	"accessModes":       readAccessModes,
	"serviceType":       text(func(a *PostgresArgs) *string { return &a.ServiceType }),
	"nodePort":          readNodePort,
	"database":          text(func(a *PostgresArgs) *string { return &a.Database }),
	"user":              text(func(a *PostgresArgs) *string { return &a.User }),
	"password":          readPassword,
	"shutdownTimeout":   readShutdownTimeout,
	"shmSize":           text(func(a *PostgresArgs) *string { return &a.ShmSize }),
	"priorityClassName": text(func(a *PostgresArgs) *string { return &a.PriorityClassName }),
	"allowFrom": func(a *PostgresArgs, value string) *InvalidSetting {
		return readObject("allowFrom", value, &a.AllowFrom, "a list of networks, like [10.0.0.0/8]")
	},
	"parameters": func(a *PostgresArgs, value string) *InvalidSetting {
		return readObject("parameters", value, &a.Parameters, "a map of parameters, like {shared_buffers: 256MB}")
	},
	"resources": func(a *PostgresArgs, value string) *InvalidSetting {
		return readObject("resources", value, &a.Resources, "requests and limits, like {requests: {memory: 1Gi}}")
	},
	"nodeSelector": func(a *PostgresArgs, value string) *InvalidSetting {
		return readObject("nodeSelector", value, &a.NodeSelector, "a map of labels, like {disk: ssd}")
	},
	"tolerations": func(a *PostgresArgs, value string) *InvalidSetting {
		return readObject("tolerations", value, &a.Tolerations, "a list of tolerations as in a pod")
	},
	"affinity": func(a *PostgresArgs, value string) *InvalidSetting {
		return readObject("affinity", value, &a.Affinity, "an affinity as in a pod")
	},
	"podAnnotations": func(a *PostgresArgs, value string) *InvalidSetting {
		return readObject("podAnnotations", value, &a.PodAnnotations, "a map of annotations, like {example.com/team: data}")
	},
	"imagePullSecrets": func(a *PostgresArgs, value string) *InvalidSetting {
		return readObject("imagePullSecrets", value, &a.ImagePullSecrets, "a list of names")
	},
	"initScripts": func(a *PostgresArgs, value string) *InvalidSetting {
		return readObject("initScripts", value, &a.InitScripts, "a map of file names and their content")
	},
	"tls": func(a *PostgresArgs, value string) *InvalidSetting {
		return readBool("tls", value, &a.TLS)
	},
	"tlsSecret": text(func(a *PostgresArgs) *string { return &a.TLSSecret }),
	"tlsNames": func(a *PostgresArgs, value string) *InvalidSetting {
		return readObject("tlsNames", value, &a.TLSNames, "a list of names, like [db.example.com]")
	},
	"requireTls": func(a *PostgresArgs, value string) *InvalidSetting {
		return readBool("requireTls", value, &a.RequireTLS)
	},
	"initializeEmptyVolume": func(a *PostgresArgs, value string) *InvalidSetting {
		return readBool("initializeEmptyVolume", value, &a.InitializeEmptyVolume)
	},
	"deleteData": func(a *PostgresArgs, value string) *InvalidSetting {
		return readBool("deleteData", value, &a.DeleteData)
	},
}

// text reads a setting that is taken as it is, and judged later.
func text(field func(*PostgresArgs) *string) func(*PostgresArgs, string) *InvalidSetting {
	return func(a *PostgresArgs, value string) *InvalidSetting {
		*field(a) = value
		return nil
	}
}

// ArgsFromConfig reads the settings of a project from the whole config of its
// stack, whose keys have the form "project:setting"; isSecret tells which of
// them are stored encrypted. It returns all that are invalid together, as
// InvalidSettings, unknown ones included.
func ArgsFromConfig(project string, config map[string]string, isSecret func(key string) bool) (*PostgresArgs, error) {
	var args PostgresArgs
	var found InvalidSettings
	for _, key := range slices.Sorted(maps.Keys(config)) {
		setting, own := strings.CutPrefix(key, project+":")
		if !own {
			continue
		}
		read, known := settings[setting]
		if !known {
			found = append(found, *invalid(setting, config[key],
				"one of the settings "+oneOf(slices.Sorted(maps.Keys(settings))), unset(setting)))
			continue
		}
		if wrong := read(&args, config[key]); wrong != nil {
			found = append(found, *wrong)
		} else if setting == "password" && config[key] != "" && !isSecret(key) {
			found = append(found, InvalidSetting{
				Setting: setting, Value: "one in plain text", Expected: "a secret",
				Fix: "set it with: pulumi config set --secret password",
			})
		}
	}
	return &args, found.andOf(args).orNil()
}

func readReplicas(a *PostgresArgs, value string) *InvalidSetting {
	replicas, err := strconv.Atoi(value)
	if err != nil {
		return invalid("replicas", value, expectedReplicas, set("replicas", "1"))
	}
	a.Replicas = &replicas
	return nil
}

// readAccessModes takes the list that Pulumi makes of YAML, or what is easier
// to type: names with commas between them.
func readAccessModes(a *PostgresArgs, value string) *InvalidSetting {
	if strings.HasPrefix(value, "[") {
		var modes []string
		if err := json.Unmarshal([]byte(value), &modes); err != nil {
			return invalid("accessModes", value, "one or more of "+oneOf(accessModes), set("accessModes", DefaultAccessMode))
		}
		a.AccessModes = modes
		return nil
	}
	for mode := range strings.SplitSeq(value, ",") {
		if mode = strings.TrimSpace(mode); mode != "" {
			a.AccessModes = append(a.AccessModes, mode)
		}
	}
	return nil
}

func readNodePort(a *PostgresArgs, value string) *InvalidSetting {
	if value == "" {
		return nil
	}
	port, err := strconv.Atoi(value)
	if err != nil || port == 0 {
		return invalid("nodePort", value, expectedNodePort, unset("nodePort"))
	}
	a.NodePort = port
	return nil
}

func readPassword(a *PostgresArgs, value string) *InvalidSetting {
	if value == "" {
		return nil
	}
	a.Password = pulumi.ToSecret(pulumi.String(value)).(pulumi.StringOutput)
	return checkPassword(value)
}

// readObject reads a setting that is a map or a list, which Pulumi hands over as
// JSON. A key that means nothing is refused, or a misspelled one would go
// unnoticed.
func readObject[T any](setting, value string, field *T, expected string) *InvalidSetting {
	if value == "" || value == "{}" || value == "[]" {
		return nil
	}
	var object T
	decoder := json.NewDecoder(strings.NewReader(value))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&object); err != nil {
		return invalid(setting, value, expected, unset(setting))
	}
	*field = object
	return nil
}

// Scalars is a map whose values are texts. `pulumi config set --path` makes a
// number of what looks like one, and true and false of those; as JSON they are
// taken for the texts that they were.
type Scalars map[string]string

// UnmarshalJSON reads a map of strings, numbers, true and false.
func (s *Scalars) UnmarshalJSON(text []byte) error {
	var values map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&values); err != nil {
		return err
	}
	*s = Scalars{}
	for key, value := range values {
		switch value := value.(type) {
		case string:
			(*s)[key] = value
		case json.Number:
			(*s)[key] = value.String()
		case bool:
			(*s)[key] = strconv.FormatBool(value)
		default:
			return fmt.Errorf("%s: expected a text, a number, true or false", key)
		}
	}
	return nil
}

func readBool(setting, value string, field *bool) *InvalidSetting {
	switch value {
	case "true", "false":
		*field = value == "true"
		return nil
	}
	return invalid(setting, value, "true or false", set(setting, "false"))
}
