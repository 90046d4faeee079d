// Command generate makes from the table of settings what is written about them
// elsewhere: the fields of settings.Args, the config section of Pulumi.yaml and
// docs/settings.md. `make generate` runs it.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/format"
	"os"
	"path/filepath"
	"strings"

	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	if err := run(root); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// run writes every file that is made from the table, below the checkout's root.
func run(root string) error {
	files, err := generated(root)
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(root, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generated is what the files should hold, by their path below the checkout's
// root.
func generated(root string) (map[string][]byte, error) {
	args, err := argsFile()
	if err != nil {
		return nil, err
	}
	const project = "Pulumi.yaml"
	text, err := os.ReadFile(filepath.Join(root, project))
	if err != nil {
		return nil, err
	}
	config, err := projectFile(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", project, err)
	}
	return map[string][]byte{
		"components/settings/args.go": args,
		project:                       config,
		"docs/settings.md":            settingsPage(),
	}, nil
}

// argsFile declares the type Args.
func argsFile() ([]byte, error) {
	var text bytes.Buffer
	fmt.Fprint(&text, `// Code generated from the table of settings by make generate. DO NOT EDIT.

package settings

import (
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	corev1 "k8s.io/api/core/v1"

	"stateful-postgres/components/problem"
)

// Args are the settings of a Postgres component. A field that is left at its zero
// value has the default that is named with it.
type Args struct {
`)
	for _, setting := range settings.Table() {
		description := setting.Text()
		if setting.Default != nil {
			description += " Default: " + setting.DefaultText() + "."
		}
		for _, line := range wrap(description, 76) {
			fmt.Fprintf(&text, "\t// %s\n", line)
		}
		fmt.Fprintf(&text, "\t%s %s\n", setting.Field(), setting.Type.GoType())
	}
	fmt.Fprint(&text, `
	// reader is who reads messages about the settings.
	reader problem.Reader
	// unread is what is wrong with values that could not be read.
	unread []problem.Problem
}
`)
	return format.Source(text.Bytes())
}

// wrap breaks a text into lines of at most width characters.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}

// beginConfig is the last line of Pulumi.yaml that is written by hand.
const beginConfig = "\nconfig:\n"

// projectFile is Pulumi.yaml with a config section that holds every setting.
func projectFile(text string) ([]byte, error) {
	head, _, found := strings.Cut(text, beginConfig)
	if !found {
		return nil, fmt.Errorf("expected a line %q", strings.TrimSpace(beginConfig))
	}
	var file bytes.Buffer
	file.WriteString(head + beginConfig)
	for _, setting := range settings.Table() {
		value, err := defaultYAML(setting)
		if err != nil {
			return nil, err
		}
		description, err := yamlText(setting.Text())
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&file, "  %s:\n", setting.Name)
		if setting.Type.Scalar() {
			fmt.Fprint(&file, "    type: string\n")
		}
		fmt.Fprintf(&file, "    default: %s\n    description: %s\n", value, description)
	}
	return file.Bytes(), nil
}

// defaultYAML is the default that Pulumi hands to the program when nothing is
// set. JSON is YAML.
func defaultYAML(setting settings.Setting) (string, error) {
	switch {
	case setting.Type.Scalar() && setting.Default == nil:
		return `""`, nil
	case setting.Type.Scalar():
		return yamlText(setting.DefaultText())
	case setting.Default == nil && setting.Type.List():
		return "[]", nil
	case setting.Default == nil:
		return "{}", nil
	}
	text, err := json.Marshal(setting.Default)
	return string(text), err
}

// yamlText is a text in quotes.
func yamlText(value string) (string, error) {
	var quoted bytes.Buffer
	encoder := json.NewEncoder(&quoted)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return strings.TrimSpace(quoted.String()), err
}

// settingsPage is docs/settings.md.
func settingsPage() []byte {
	var page bytes.Buffer
	fmt.Fprint(&page, `<!-- Made from components/settings/table.go by make generate. -->
# Settings and outputs

The settings of the Pulumi program (`+"`pulumi config set NAME VALUE`"+`), and the inputs of the component in a program of your own. None has to be set.
The last column says what a change does to a running server:

| change | what happens |
|---|---|
`)
	for _, change := range []struct {
		change settings.Change
		what   string
	}{
		{settings.ChangeNothing, "the server goes on as it is, with all connections"},
		{settings.ChangeReload, "the server takes it over within two minutes, with all connections"},
		{settings.ChangeRestart, "checkpoint, clean shutdown, new pod: connections are closed, no row is lost"},
		{settings.ChangeScale, "the server is started, or shut down cleanly; its volume stays"},
		{settings.ChangeGrow, "the volume grows under the running server"},
		{settings.ChangeRefused, "the preview is refused, with what to do instead; nothing is touched"},
	} {
		fmt.Fprintf(&page, "| %s | %s |\n", change.change, change.what)
	}
	fmt.Fprint(&page, "\n## Settings\n\n| name | type | unit | default | what it is | change |\n|---|---|---|---|---|---|\n")
	for _, setting := range settings.Table() {
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
	for _, output := range contract.OutputTable() {
		secret := ""
		if output.Secret {
			secret = " Secret."
		}
		fmt.Fprintf(&page, "| `%s` | %s%s |\n", output.Name, output.Description, secret)
	}
	return page.Bytes()
}
