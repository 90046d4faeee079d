package pulumicli_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/pulumicli"
)

// project makes a project whose stack dev has settings, and a CLI that notes what it is asked
// and what settings it was given.
func project(t *testing.T, script string) (*pulumicli.Deployer, string) {
	t.Helper()
	directory := t.TempDir()
	log := filepath.Join(directory, "log")
	fakeCLI(t, `echo "$*" >> `+log+"\n"+`previous=
for argument; do
	[ "$previous" = --config-file ] && file=$argument
	previous=$argument
done
[ "$1" = config ] && echo "replicas: $4" >> "$file"
[ "$1" = up ] && [ -n "$file" ] && cat "$file" >> `+log+"\n:\n"+script)
	require.NoError(t, os.WriteFile(filepath.Join(directory, "Pulumi.dev.yaml"), []byte("image: x\n"), 0o644))
	return &pulumicli.Deployer{Project: directory, Stack: "dev", Scratch: filepath.Join(directory, "scratch")}, log
}

func TestScaleLeavesTheStacksSettingsAsTheyAre(t *testing.T) {
	deployer, log := project(t, "")
	require.NoError(t, deployer.Scale(t.Context(), 0))
	copied := filepath.Join(deployer.Scratch, "settings-while-scaled.yaml")
	said, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Equal(t, "config set replicas 0 --stack dev --config-file "+copied+" --non-interactive\n"+
		"up --yes --stack dev --config-file "+copied+" --non-interactive\nimage: x\nreplicas: 0\n", string(said))
	settings, err := os.ReadFile(filepath.Join(deployer.Project, "Pulumi.dev.yaml"))
	require.NoError(t, err)
	require.Equal(t, "image: x\n", string(settings))
	_, err = os.Stat(copied)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestRestoreIsWhatAUserWouldType(t *testing.T) {
	deployer, log := project(t, "")
	require.Equal(t, "pulumi up --yes --stack dev", deployer.RestoreCommand())
	require.NoError(t, deployer.Restore(t.Context()))
	said, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Equal(t, "up --yes --stack dev --non-interactive\n", string(said))

	deployer.ConfigFile = "elsewhere.yaml"
	require.Equal(t, "pulumi up --yes --stack dev --config-file elsewhere.yaml", deployer.RestoreCommand())
	require.NoError(t, os.WriteFile(filepath.Join(deployer.Project, "elsewhere.yaml"), []byte("image: y\n"), 0o644))
	require.NoError(t, deployer.Scale(t.Context(), 0))
	said, err = os.ReadFile(log)
	require.NoError(t, err)
	require.Contains(t, string(said), "image: y\nreplicas: 0\n")
}

func TestFailedDeploymentSaysWhatTheCLISaid(t *testing.T) {
	deployer, _ := project(t, "echo 'error: the claim would be replaced' >&2; exit 255")
	err := deployer.Restore(t.Context())
	require.ErrorContains(t, err, "the claim would be replaced")
	require.NotContains(t, err.Error(), "\n")

	deployer.Stack = "other"
	require.ErrorContains(t, deployer.Scale(t.Context(), 0), "--config-file")
}

func TestInterruptedDeploymentIsInterruptedAndWaitedFor(t *testing.T) {
	deployer, log := project(t, `
trap 'echo interrupted >> log; exit 1' INT
echo started >> log
while :; do sleep 0.01; done`)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for {
			if said, _ := os.ReadFile(log); strings.HasSuffix(string(said), "started\n") {
				cancel(errors.New("interrupted by the user"))
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	err := deployer.Restore(ctx)
	require.ErrorContains(t, err, "interrupted by the user")
	said, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Contains(t, string(said), "started\ninterrupted\n")
}
