// Package scripts holds what the pods of the component run around the image's
// own entrypoint.
package scripts

import (
	"embed"
	"strings"
)

//go:embed *.sh *.py init
var files embed.FS

// The scripts, by their path below the folder in which the pod finds them.
const (
	Start      = "start.sh"
	Volume     = "volume.sh"
	Alone      = "alone.sh"
	Adopt      = "adopt.sh"
	Server     = "server.sh"
	Ready      = "ready.sh"
	Alive      = "alive.sh"
	Checkpoint = "checkpoint.sh"
	InitServer = "init/postgres"
	// Owner gives the volume to the server's user, where a setting asks for that.
	Owner = "owner.sh"
	// Check is what the Job runs that checks the settings; no pod of a server needs
	// it.
	Check = "check.sh"
	// Member is a part of Start with highAvailability, and Members what it and the
	// others ask Patroni's ConfigMaps.
	Member  = "member.sh"
	Members = "members.py"
)

// OfTheServer are the paths of the scripts that the server's pod needs.
func OfTheServer() []string {
	return []string{Start, Volume, Alone, Adopt, Server, Ready, Alive, Checkpoint, InitServer, Owner}
}

// OfAMember are the paths of those that it needs besides with highAvailability.
func OfAMember() []string { return []string{Member, Members} }

// Text is the content of a script of this package. A pod's shell takes the line
// ends of Windows for a part of the words; .gitattributes keeps them out of a
// checkout, but not out of one that was made before or in another way.
func Text(path string) string {
	text, err := files.ReadFile(path)
	if err != nil {
		// The paths above are embedded, which a test shows.
		return ""
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// Key is a script's key in the ConfigMap, which may hold no slash.
func Key(path string) string { return strings.ReplaceAll(path, "/", "-") }
