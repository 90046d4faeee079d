package main

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// The component is compiled for the root module's program and for this one. With
// the same versions of what it needs that happens once; the Kubernetes SDK alone
// takes minutes.
func TestComponentHasTheVersionsOfTheRootModule(t *testing.T) {
	t.Parallel()
	versions := func(folder string) string {
		list := exec.Command("go", "list", "-deps",
			"-f", `{{if .Module}}{{if not .Module.Main}}{{with .Module}}{{if ne .Path "stateful-postgres"}}{{.Path}} {{.Version}}{{end}}{{end}}{{end}}{{end}}`,
			"stateful-postgres/components")
		list.Dir = folder
		output, err := list.Output()
		require.NoError(t, err)
		return string(output)
	}
	require.Equal(t, versions(".."), versions("."), "go get the newer versions in the other module")
}
