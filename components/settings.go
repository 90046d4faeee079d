package components

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// settings are the keys of the stack's config, and how each is read. A value
// that cannot be read leaves the field at its default and is returned.
var settings = map[string]func(a *PostgresArgs, value string) *InvalidSetting{
	"namespace":    func(a *PostgresArgs, value string) *InvalidSetting { a.Namespace = value; return nil },
	"replicas":     readReplicas,
	"image":        func(a *PostgresArgs, value string) *InvalidSetting { a.Image = value; return nil },
	"storage":      func(a *PostgresArgs, value string) *InvalidSetting { a.Storage = value; return nil },
	"storageClass": func(a *PostgresArgs, value string) *InvalidSetting { a.StorageClass = value; return nil },
	"accessModes":  readAccessModes,
	"serviceType":  func(a *PostgresArgs, value string) *InvalidSetting { a.ServiceType = value; return nil },
	"nodePort":     readNodePort,
	"database":     func(a *PostgresArgs, value string) *InvalidSetting { a.Database = value; return nil },
	"user":         func(a *PostgresArgs, value string) *InvalidSetting { a.User = value; return nil },
	"password":     readPassword,
	"deleteData": func(a *PostgresArgs, value string) *InvalidSetting {
		return readBool("deleteData", value, &a.DeleteData)
	},
	"initializeEmptyVolume": func(a *PostgresArgs, value string) *InvalidSetting {
		return readBool("initializeEmptyVolume", value, &a.InitializeEmptyVolume)
	},
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
	found = append(found, args.withDefaults().invalid()...)
	slices.SortStableFunc(found, func(a, b InvalidSetting) int { return strings.Compare(a.Setting, b.Setting) })
	return &args, found.orNil()
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

func readBool(setting, value string, field *bool) *InvalidSetting {
	switch value {
	case "true", "false":
		*field = value == "true"
		return nil
	}
	return invalid(setting, value, "true or false", set(setting, "false"))
}
