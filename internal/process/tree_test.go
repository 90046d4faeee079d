package process

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTreeHoldsGrandchildrenInGroupsOfTheirOwn(t *testing.T) {
	t.Parallel()
	// Each shell waits for its standard input to end, which the test holds.
	command := exec.Command("sh", "-c", `sh -c 'setsid sh -c "echo started; cat" <&3; :' 3<&0; :`)
	input, err := command.StdinPipe()
	require.NoError(t, err)
	output, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		input.Close()
		require.NoError(t, command.Wait())
	})
	reader := bufio.NewReader(output)
	line, err := reader.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "started\n", line)
	go func() { _, _ = io.Copy(io.Discard, reader) }()

	tree, err := Tree(command.Process.Pid)
	require.NoError(t, err)
	require.Equal(t, command.Process.Pid, tree[0])
	var lines []string
	for _, process := range tree {
		lines = append(lines, strings.Join(CommandLine(process), " "))
	}
	require.Contains(t, strings.Join(lines, "\n"), "echo started; cat")
	require.NotContains(t, tree, os.Getpid())
	all, err := All()
	require.NoError(t, err)
	require.Subset(t, all, append(tree[:1], os.Getpid()))
}
