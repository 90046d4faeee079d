package components

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadmeNamesEverySetting(t *testing.T) {
	t.Parallel()
	project, err := os.ReadFile("../Pulumi.yaml")
	require.NoError(t, err)
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	_, schema, found := strings.Cut(string(project), "\nconfig:\n")
	require.True(t, found)
	settings := regexp.MustCompile(`(?m)^  (\w+):$`).FindAllStringSubmatch(schema, -1)
	require.Greater(t, len(settings), 10)
	for _, setting := range settings {
		// In the table of settings, alone or with its likes.
		require.Regexp(t, `(?m)^\|[^|]*`+"`"+setting[1]+"`"+`[^|]*\|`, string(readme), "README.md does not describe %s", setting[1])
	}
}
