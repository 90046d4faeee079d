package components

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// settingNames are the names of the settings in the reference.
func settingNames() []string {
	var names []string
	for _, setting := range Settings() {
		names = append(names, setting.Name)
	}
	return slices.Sorted(slices.Values(names))
}

func TestReferenceHoldsEverySetting(t *testing.T) {
	t.Parallel()
	require.Equal(t, slices.Sorted(maps.Keys(settings)), settingNames(), "the settings that are read, and components.Settings")
	args := reflect.TypeFor[PostgresArgs]()
	require.Equal(t, args.NumField(), len(settings), "a field has no setting, or a setting no field")
	for name := range settings {
		_, found := args.FieldByNameFunc(func(field string) bool { return strings.EqualFold(field, name) })
		require.True(t, found, "PostgresArgs has no field for %s", name)
	}
	for _, setting := range Settings() {
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
	for _, setting := range Settings() {
		if setting.Default == nil {
			continue
		}
		args, err := read(map[string]string{setting.Name: setting.DefaultText()})
		require.NoError(t, err, setting.Name)
		require.Equal(t, unset.withDefaults(), args.withDefaults(), setting.Name)
	}
}

// Pulumi.yaml is what `pulumi config` and the Pulumi console know of a setting.
func TestPulumiYamlAgreesWithTheReference(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../Pulumi.yaml")
	require.NoError(t, err)
	var project struct {
		Config map[string]struct {
			Type, Description string
			Default           any
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &project))
	require.Equal(t, slices.Sorted(maps.Keys(project.Config)), settingNames())
	for _, setting := range Settings() {
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
			if setting.Type == TypeTexts || setting.Type == TypeList {
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

func TestReferenceHoldsEveryOutput(t *testing.T) {
	t.Parallel()
	secret := map[string]bool{}
	component := reflect.TypeFor[Postgres]()
	for i := range component.NumField() {
		if name, tagged := component.Field(i).Tag.Lookup("pulumi"); tagged {
			secret[name] = component.Field(i).Tag.Get("provider") == "secret"
		}
	}
	described := map[string]bool{}
	for _, output := range OutputReference() {
		described[output.Name] = output.Secret
		require.Regexp(t, `^[A-Z].*\.$`, output.Description, output.Name)
	}
	require.Equal(t, secret, described, "the tags of Postgres, and components.OutputReference")

	s := setup(t, nil, nil)
	require.Equal(t, slices.Sorted(maps.Keys(s.outputs)), slices.Sorted(maps.Keys(described)), "Postgres.Outputs, and components.OutputReference")
	for name, isSecret := range described {
		require.Equal(t, isSecret, slices.Contains(s.secrets, name), name)
	}
}

// TestSettingsPage keeps the page and the reference the same. After a change:
// go test ./components -run TestSettingsPage -update
func TestSettingsPage(t *testing.T) {
	t.Parallel()
	const page = "../docs/settings.md"
	text := settingsPage()
	if *update {
		require.NoError(t, os.WriteFile(page, text, 0o644))
	}
	want, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Equal(t, string(want), string(text),
		"the reference of the settings has changed; if it was meant to: go test ./components -run TestSettingsPage -update")
}

func settingsPage() []byte {
	var page bytes.Buffer
	fmt.Fprint(&page, `<!-- Made from components/reference.go: go test ./components -run TestSettingsPage -update -->
# Settings and outputs

The settings of the Pulumi program (`+"`pulumi config set NAME VALUE`"+`), and the inputs of the component in a program of your own. None has to be set.
The last column says what a change does to a running server:

| change | what happens |
|---|---|
`)
	for _, change := range []struct {
		change Change
		what   string
	}{
		{ChangeNothing, "the server goes on as it is, with all connections"},
		{ChangeReload, "the server takes it over within two minutes, with all connections"},
		{ChangeRestart, "checkpoint, clean shutdown, new pod: connections are closed, no row is lost"},
		{ChangeScale, "the server is started, or shut down cleanly; its volume stays"},
		{ChangeGrow, "the volume grows under the running server"},
		{ChangeRefused, "the preview is refused, with what to do instead; nothing is touched"},
	} {
		fmt.Fprintf(&page, "| %s | %s |\n", change.change, change.what)
	}
	fmt.Fprint(&page, "\n## Settings\n\n| name | type | unit | default | what it is | change |\n|---|---|---|---|---|---|\n")
	for _, setting := range Settings() {
		value := setting.Otherwise
		if setting.Default != nil {
			value = "`" + setting.DefaultText() + "`"
		}
		change := strings.TrimSpace(string(setting.Change) + ". " + setting.ChangeNote)
		fmt.Fprintf(&page, "| `%s` | %s | %s | %s | %s | %s |\n",
			setting.Name, setting.Type, setting.Unit, value, setting.Description, strings.TrimSuffix(change, "."))
	}
	fmt.Fprint(&page, `
The Kubernetes provider's own settings (`+"`kubernetes:context`, `kubernetes:kubeconfig`"+`, …) say which cluster is meant, in a program of your own too: the component makes its provider from them. Without them it is the current context of `+"`$KUBECONFIG`"+`.

## Outputs

| name | what it is |
|---|---|
`)
	for _, output := range OutputReference() {
		secret := ""
		if output.Secret {
			secret = " Secret."
		}
		fmt.Fprintf(&page, "| `%s` | %s%s |\n", output.Name, output.Description, secret)
	}
	return page.Bytes()
}
