package components

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// ownedPod is a pod whose volume has a database, with a chown that only says what
// it was asked for: giving files away takes root.
func ownedPod(t *testing.T) *pod {
	t.Helper()
	p := newPod(t, map[string]string{"chown": `if [ -n "${SQUASHED-}" ]; then echo "chown: changing ownership: Operation not permitted" >&2; exit 1; fi
echo "$*" >>"$RECORD"`})
	p.write(t, "PG_VERSION")
	p.write(t, "../pgdata.lock")
	p.write(t, "../lost+found/lost")
	return p
}

func TestVolumeOfTheServersOwnUserIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	p := ownedPod(t)
	require.Zero(t, p.run(t, "owner.sh", strconv.Itoa(os.Getuid())))
	require.Empty(t, p.console.String())
	require.NoFileExists(t, filepath.Join(p.dir, "record"))
}

func TestVolumeOfSomebodyElseIsGivenToTheServersUser(t *testing.T) {
	t.Parallel()
	p := ownedPod(t)
	const server = "4711"
	require.NotEqual(t, server, strconv.Itoa(os.Getuid()))
	require.Zero(t, p.run(t, "owner.sh", server), p.console.String())
	require.Contains(t, p.console.String(), "belongs to user "+strconv.Itoa(os.Getuid())+"; the volume is given to user "+server)
	volume := p.volume("")
	require.Equal(t, "-h 4711:4711 "+p.data+"/PG_VERSION "+p.data+"\n"+
		"-h 4711:4711 "+p.data+".lock\n"+
		"-h 4711:4711 "+filepath.Clean(volume)+"\n", p.record(t), "the top last, and what is the file system's not at all")
}

func TestVolumeThatCannotBeGivenAwayIsNamed(t *testing.T) {
	t.Parallel()
	p := ownedPod(t)
	p.env = append(p.env, "SQUASHED=yes")
	require.Equal(t, 1, p.run(t, "owner.sh", "4711"))
	require.Contains(t, p.console.String(), "owner: "+p.data+" cannot be given to user 4711: chown: changing ownership: Operation not permitted.")
	require.Contains(t, p.console.String(), "(root_squash)")
}

func TestVolumeOnWhichAServerLivesIsNotGivenAway(t *testing.T) {
	t.Parallel()
	p := ownedPod(t)
	require.NoError(t, os.WriteFile(p.data+".lock", []byte("pod postgres-0 on node-1\n"), 0o600))
	held := exec.Command("flock", p.data+".lock", "sh", "-c", "echo held; cat")
	input, err := held.StdinPipe()
	require.NoError(t, err)
	output, err := held.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, held.Start())
	_, err = output.Read(make([]byte, 16))
	require.NoError(t, err, "it has the lock")

	// It waits, so it is given some seconds to do what it must not.
	command := exec.Command("timeout", "5", "/bin/sh", filepath.Join("scripts", "owner.sh"), "4711")
	command.Env, command.Stdout, command.Stderr = p.env, &p.console, &p.console
	require.Error(t, command.Run())
	require.Contains(t, p.console.String(), "owner: waiting for the volume, on which another pod lives: pod postgres-0 on node-1")
	require.NoFileExists(t, filepath.Join(p.dir, "record"))

	require.NoError(t, input.Close())
	require.NoError(t, held.Wait())
	require.Zero(t, p.run(t, "owner.sh", "4711"), p.console.String())
	require.Contains(t, p.record(t), p.data)
}
