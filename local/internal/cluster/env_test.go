package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/local/internal/layout"
)

func TestEnvIsReadByAShellWhateverThePath(t *testing.T) {
	t.Parallel()
	l := layout.Layout{Root: filepath.Join(t.TempDir(), `it's a "folder" $HOME`)}
	require.NoError(t, layout.WriteFile(l.Env(), []byte(Env(l)), 0o600))
	script := `. "$1"; . "$1"; printf '%s\n' "$KUBECONFIG" "$PULUMI_BACKEND_URL" "$PATH" "${PULUMI_HOME-none}" "$CGO_ENABLED"`
	shell := exec.Command("sh", "-eu", "-c", script, "sh", l.Env())
	shell.Env = []string{"PATH=/usr/bin:/bin"}
	out, err := shell.Output()
	require.NoError(t, err)
	require.Equal(t, l.Kubeconfig()+"\nfile://"+l.PulumiState()+"?metadata=skip\n"+l.Bin()+":/usr/bin:/bin\nnone\n0\n", string(out))
}

func TestToolchainThatWasBuiltHasAHomeOfItsOwn(t *testing.T) {
	t.Parallel()
	l := layout.Layout{Root: t.TempDir()}
	require.NotContains(t, Env(l), "PULUMI_HOME")
	require.NoError(t, layout.WriteFile(l.Binary("pulumi"), nil, os.FileMode(0o700)))
	require.Contains(t, Env(l), "export PULUMI_HOME='"+l.PulumiHome()+"'")
}
