package components

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/components/settings"
)

// The README names the settings to begin with, docs/settings.md all of them.
func TestReadmeNamesSettingsThatExist(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(readme), "\n## Settings\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n#")
	require.Contains(t, section, "(docs/settings.md)")
	defaults := map[string]string{}
	for _, setting := range settings.Table() {
		defaults[setting.Name] = ""
		if setting.Default != nil {
			defaults[setting.Name] = "`" + setting.DefaultText() + "`"
		}
	}
	rows := regexp.MustCompile("(?m)^\\| (`[^|]*) \\| ([^|]*) \\|").FindAllStringSubmatch(section, -1)
	require.Greater(t, len(rows), 10)
	for _, row := range rows {
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			if strings.HasPrefix(name[1], "kubernetes:") {
				continue
			}
			require.Contains(t, defaults, name[1])
			require.Contains(t, row[2], defaults[name[1]], "default of %s", name[1])
		}
	}
}
