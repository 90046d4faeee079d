package problem

import "strings"

// Remedy is one thing to do about a problem: a change of a setting, a command
// for a shell, or neither where Do says all.
type Remedy struct {
	// Do says what is done: "set it". "" leaves it to the change. One that ends
	// with a colon is followed by the change as it is.
	Do string
	// Change is the setting to change, its zero value for none.
	Change Change
	// Command is what to type in a shell, "" for nothing.
	Command string
	// Then says what follows, "" for nothing.
	Then string
}

// Change is the change of one setting.
type Change struct {
	Kind    ChangeKind
	Setting string
	// Value is the new value, with Set alone.
	Value string
}

// ChangeKind is what is done to a setting.
type ChangeKind int

const (
	// NoChange is no change at all.
	NoChange ChangeKind = iota
	// Set gives the setting a value.
	Set
	// Choose gives it a value that only the reader knows.
	Choose
	// ChooseSecret gives it a secret value that only the reader knows.
	ChooseSecret
	// Unset removes it.
	Unset
	// ChooseEntry gives an entry of it another value.
	ChooseEntry
	// UnsetEntry removes an entry of it.
	UnsetEntry
)

// SetTo sets a setting to a value.
func SetTo(setting, value string) Remedy { return Setting(setting, value, "set it") }

// Remove removes a setting.
func Remove(setting string) Remedy { return Removing(setting, "remove it") }

// Choosing gives a setting a value that only the reader knows, and says what for.
func Choosing(setting, do string) Remedy {
	return Remedy{Do: do, Change: Change{Kind: Choose, Setting: setting}}
}

// ChoosingSecret is Choosing for a setting that has to be a secret.
func ChoosingSecret(setting, do string) Remedy {
	return Remedy{Do: do, Change: Change{Kind: ChooseSecret, Setting: setting}}
}

// Setting sets a setting to a value, and says what for.
func Setting(setting, value, do string) Remedy {
	return Remedy{Do: do, Change: Change{Kind: Set, Setting: setting, Value: value}}
}

// Removing removes a setting, and says what for.
func Removing(setting, do string) Remedy {
	return Remedy{Do: do, Change: Change{Kind: Unset, Setting: setting}}
}

// RemoveEntry removes one entry of a setting, named by its path.
func RemoveEntry(path string) Remedy {
	return Remedy{Do: "remove it", Change: Change{Kind: UnsetEntry, Setting: path}}
}

// ChangeEntry gives one entry of a setting, named by its path, another value.
func ChangeEntry(path string) Remedy {
	return Remedy{Do: "change it", Change: Change{Kind: ChooseEntry, Setting: path}}
}

// Do is something to do that no setting is changed for.
func Do(what string) Remedy { return Remedy{Do: what} }

// Run is something to do with a command in a shell.
func Run(do, command string) Remedy { return Remedy{Do: do, Command: command} }

// Text is the remedy in words.
func (r Remedy) Text(reader Reader) string {
	text := r.Do
	switch {
	case r.Command != "":
		text = with(r.Do, r.Command)
	case r.Change.Kind == NoChange:
	case reader == CommandLine:
		text = with(r.Do, r.Change.command())
	default:
		text = r.Change.inProgram(r.Do)
	}
	return text + r.Then
}

// with says what is done, and what is typed for it.
func with(do, command string) string {
	switch {
	case do == "":
		return command
	case strings.HasSuffix(do, ":"):
		return do + " " + command
	}
	return do + " with: " + command
}

// command is what changes a setting in a shell.
func (c Change) command() string {
	switch c.Kind {
	case Set:
		return "pulumi config set " + c.Setting + " " + c.Value
	case ChooseSecret:
		return "pulumi config set --secret " + c.Setting
	case Unset:
		return "pulumi config rm " + c.Setting
	case ChooseEntry:
		return "pulumi config set --path " + c.Setting
	case UnsetEntry:
		return "pulumi config rm --path " + c.Setting
	default:
		return "pulumi config set " + c.Setting
	}
}

// inProgram says what is done in a program that declares the component.
func (c Change) inProgram(do string) string {
	bare := do == "" || strings.HasSuffix(do, ":")
	switch c.Kind {
	case Set:
		if bare {
			return strings.TrimSpace(do + " " + c.Setting + ": " + c.Value + " in the program")
		}
		return do + " in the program: " + c.Setting + ": " + c.Value
	case Unset, UnsetEntry:
		switch {
		case bare:
			return strings.TrimSpace(do + " remove " + c.Setting + " from the program")
		case do == "remove it":
			return "remove it from the program"
		}
		return do + " by removing " + c.Setting + " from the program"
	default:
		if bare {
			return strings.TrimSpace(do + " set " + c.Setting + " in the program")
		}
		return do + " in the program"
	}
}
