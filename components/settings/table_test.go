package settings

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"stateful-postgres/components/problem"
)

func TestReferenceHoldsEverySetting(t *testing.T) {
	t.Parallel()
	args := reflect.TypeFor[Args]()
	const notSettings = 2
	require.Equal(t, args.NumField()-notSettings, len(Table()), "a field has no setting, or a setting no field")
	for _, setting := range Table() {
		_, found := args.FieldByName(setting.Field())
		require.True(t, found, "Args has no field for %s", setting.Name)
		require.True(t, strings.EqualFold(setting.Field(), setting.Name), setting.Name)
	}
	for _, setting := range Table() {
		require.Regexp(t, `^[A-Z].*\.$`, setting.Description, setting.Name)
		require.Contains(t, changes, setting.Change, setting.Name)
		require.NotEqual(t, setting.Default == nil, setting.Otherwise == "", "%s needs either Default or Otherwise", setting.Name)
	}
}

// What the reference calls the default has to be it.
func TestDefaultsOfTheReferenceChangeNothing(t *testing.T) {
	t.Parallel()
	unset, err := read(nil)
	require.NoError(t, err)
	for _, setting := range Table() {
		if setting.Default == nil {
			continue
		}
		args, err := read(map[string]string{setting.Name: setting.DefaultText()})
		require.NoError(t, err, setting.Name)
		require.Equal(t, unset.WithDefaults(), args.WithDefaults(), setting.Name)
	}
}

// Pulumi.yaml is what `pulumi config` and the Pulumi console know of a setting.
func TestPulumiYamlAgreesWithTheReference(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../Pulumi.yaml")
	require.NoError(t, err)
	var project struct {
		Config map[string]struct {
			Type, Description string
			Default           any
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &project))
	require.Equal(t, slices.Sorted(maps.Keys(project.Config)), names())
	for _, setting := range Table() {
		declared := project.Config[setting.Name]
		require.Equal(t, setting.Text(), declared.Description, "description of %s", setting.Name)
		if setting.Type.Scalar() {
			require.Equal(t, "string", declared.Type, setting.Name)
			value := ""
			if setting.Default != nil {
				value = setting.DefaultText()
			}
			require.Equal(t, value, declared.Default, setting.Name)
			continue
		}
		require.Empty(t, declared.Type, setting.Name)
		want := setting.Default
		if want == nil {
			want = map[string]any{}
			if setting.Type.List() {
				want = []any{}
			}
		}
		wantJSON, err := json.Marshal(want)
		require.NoError(t, err)
		gotJSON, err := json.Marshal(declared.Default)
		require.NoError(t, err)
		require.JSONEq(t, string(wantJSON), string(gotJSON), setting.Name)
	}
}

func TestProjectDeclaresEverySettingWithItsDefault(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../Pulumi.yaml")
	require.NoError(t, err)
	var project struct {
		Name   string
		Config map[string]struct {
			Default     any
			Description string
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &project))
	require.Len(t, project.Config, len(Table()))
	config := map[string]string{}
	for key, setting := range project.Config {
		require.Contains(t, names(), key)
		require.NotEmpty(t, setting.Description, key)
		value, isString := setting.Default.(string)
		if !isString {
			text, err := json.Marshal(setting.Default)
			require.NoError(t, err)
			value = string(text)
		}
		config[project.Name+":"+key] = value
	}
	args := FromConfig(project.Name, config, func(string) bool { return false })
	require.NoError(t, invalid(args))
	require.Equal(t, Args{reader: problem.CommandLine}.WithDefaults(), args.WithDefaults())
}
