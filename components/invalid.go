package components

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// InvalidSetting is one setting that cannot work.
type InvalidSetting struct {
	// Setting is the name of the setting, as in `pulumi config set`.
	Setting string
	// Value is what was set, quoted; for a secret, only what is wrong with it.
	Value string
	// Expected says what would have been valid.
	Expected string
	// Fix says what to do.
	Fix string
}

// Error is one line.
func (i InvalidSetting) Error() string {
	return fmt.Sprintf("%s: got %s, expected %s; %s", i.Setting, i.Value, i.Expected, i.Fix)
}

// InvalidSettings are all settings that cannot work, found before anything was
// declared.
type InvalidSettings []InvalidSetting

// Error is one line for each setting, after one that says how many there are.
func (i InvalidSettings) Error() string {
	lines := make([]string, 0, len(i)+1)
	switch len(i) {
	case 1:
		lines = append(lines, "1 setting is invalid, nothing was changed:")
	default:
		lines = append(lines, fmt.Sprintf("%d settings are invalid, nothing was changed:", len(i)))
	}
	for _, setting := range i {
		lines = append(lines, "  "+setting.Error())
	}
	return strings.Join(lines, "\n")
}

// andOf are these settings and those that are invalid in args, in the order of
// their names.
func (i InvalidSettings) andOf(args PostgresArgs) InvalidSettings {
	all := append(slices.Clone(i), args.withDefaults().invalid()...)
	slices.SortStableFunc(all, func(a, b InvalidSetting) int { return strings.Compare(a.Setting, b.Setting) })
	return all
}

// ForProgram says what to do in a program that declares the component itself:
// there a setting is an input, and `pulumi config set` would change nothing.
func (i InvalidSettings) ForProgram() InvalidSettings {
	var adapted InvalidSettings
	for _, setting := range i {
		for _, rule := range programFixes {
			setting.Fix = rule.command.ReplaceAllString(setting.Fix, rule.program)
		}
		adapted = append(adapted, setting)
	}
	return adapted
}

// programFixes replace what is to be typed by what is to be written, the special
// cases first.
var programFixes = []struct {
	command *regexp.Regexp
	program string
}{
	{regexp.MustCompile(`with: pulumi config set (\w+) (\S*[^\s,;])`), "in the program: $1: $2"},
	{regexp.MustCompile(`pulumi config set (\w+) (\S*[^\s,;])`), "$1: $2 in the program"},
	{regexp.MustCompile(`with: pulumi config set (--\w+ )?[^\s,;]+`), "in the program"},
	{regexp.MustCompile(`remove it with: pulumi config rm (--path )?[^\s,;]+`), "remove it from the program"},
	{regexp.MustCompile(`with: pulumi config rm ([^\s,;]+)`), "by removing $1 from the program"},
	{regexp.MustCompile(`pulumi config rm ([^\s,;]+)`), "remove $1 from the program"},
}

// orNil is nil when nothing is invalid, so that it can be returned as an error.
func (i InvalidSettings) orNil() error {
	if len(i) == 0 {
		return nil
	}
	return i
}
