package components

import (
	"fmt"
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

// orNil is nil when nothing is invalid, so that it can be returned as an error.
func (i InvalidSettings) orNil() error {
	if len(i) == 0 {
		return nil
	}
	return i
}
