package command

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/report"
)

// The JSON output is a contract: every field is documented, and every documented field exists.
func TestEveryJSONFieldIsDocumented(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../../docs/verify-output.md")
	require.NoError(t, err)
	for heading, of := range map[string]reflect.Type{
		"## `-o json` of check, fill, cycle and durability": reflect.TypeFor[report.Report](),
		"## `-o json` of status":                            reflect.TypeFor[ledgerStatus](),
	} {
		_, section, found := strings.Cut(string(content), heading+"\n")
		require.True(t, found, heading)
		section, _, _ = strings.Cut(section, "\n## ")
		documented := map[string]bool{}
		for _, match := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\|").FindAllStringSubmatch(section, -1) {
			documented[match[1]] = strings.Contains(match[2], "optional")
		}
		require.Equal(t, fields("", of), documented, heading)
	}
}

// fields lists the JSON paths of a type, and whether each may be left out.
func fields(prefix string, of reflect.Type) map[string]bool {
	paths := map[string]bool{}
	for _, field := range reflect.VisibleFields(of) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" {
			continue
		}
		path := prefix + name
		paths[path] = strings.HasPrefix(options, "omit")
		inner := field.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Slice {
			inner, path = inner.Elem(), path+"[]"
		}
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() {
			for nested, optional := range fields(path+".", inner) {
				paths[nested] = optional
			}
		}
	}
	return paths
}

func TestDocumentedStatusesAndVerdictsAreAllThereAre(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../../docs/verify-output.md")
	require.NoError(t, err)
	for _, status := range []report.Status{report.Passed, report.Skipped, report.Warning, report.Unknown, report.Violated} {
		require.Contains(t, string(content), "`"+string(status)+"`")
	}
	for _, verdict := range []report.Verdict{report.Proven, report.NotKept, report.NotProven} {
		require.Contains(t, string(content), "`"+string(verdict)+"`")
	}
}
