package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// recoveryTime is longer than a server that runs may fail its liveness probe
// (6 times in 60 s) and its readiness probe.
const recoveryTime = 80 * time.Second

// catchRecovery is a shell command that waits for the process that replays the
// log, stops it, and prints its number. The image need not have ps.
const catchRecovery = `
end=$(($(date +%s) + 60))
while [ "$(date +%s)" -lt "$end" ]; do
    for process in /proc/[0-9]*; do
        if tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -q '^postgres: startup'; then
            kill -STOP "${process#/proc/}" && echo "${process#/proc/}" && exit 0
        fi
    done
done
echo "no process replays the log" >&2
exit 1`

func TestLongCrashRecoveryIsNotKilled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		// crash lets the server crash, and returns the process that replays the
		// log, stopped.
		crash    func(f *fixture) (startup string)
		restarts int
	}{
		{
			// It was not ready since its start, and the liveness probe waits for that.
			name: "of the container", restarts: 1,
			crash: func(f *fixture) (startup string) {
				// The server exits at once, without a checkpoint; process 1 of a
				// container cannot be killed from inside.
				f.kubectl("exec", pod, "--", "sh", "-c", "kill -QUIT 1")
				f.eventually("the next start's recovery", 3*time.Minute, func() (string, bool) {
					result := f.Kubectl(f.ctx, "exec", pod, "--", "sh", "-c", catchRecovery)
					startup = strings.TrimSpace(result.Stdout)
					return result.String(), result.OK()
				})
				return startup
			},
		},
		{
			// The liveness probe has been running for long.
			name: "of a server process", restarts: 0,
			crash: func(f *fixture) string {
				victim := f.sql("select pid from pg_stat_activity where backend_type = 'checkpointer'")
				return f.kubectl("exec", pod, "--", "sh", "-c", "kill -KILL "+victim+catchRecovery)
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, "recovery")
			f.ok(f.SetPath(f.ctx, "parameters.checkpoint_timeout", "1h"))
			f.ok(f.SetPath(f.ctx, "parameters.max_wal_size", "4GB"))
			f.ok(f.Set(f.ctx, "storage", "4Gi"))
			f.up(1)
			f.sql("create table ballast (filler text)")
			f.sql("checkpoint")
			f.verify(proven)
			f.sql("insert into ballast select repeat('x', 1000) from generate_series(1, 300000)")

			startup := c.crash(f)
			require.Regexp(t, `^\d+$`, startup)
			f.eventually("the status of the pod to count the crash", 3*time.Minute, func() (string, bool) {
				seen := f.restarts()
				return fmt.Sprint(seen), seen == c.restarts
			})
			stopped := time.Now()
			for time.Since(stopped) < recoveryTime {
				result := f.Kubectl(f.ctx, "exec", pod, "--", "pg_isready", "--host=127.0.0.1")
				require.Equal(t, 1, result.ExitCode, "the server says that it is starting up: %s", result)
				require.Equal(t, c.restarts, f.restarts(), "after %s of recovery", time.Since(stopped))
				time.Sleep(5 * time.Second)
			}
			require.Equal(t, "false", f.kubectl("get", "pod", pod, "--output=jsonpath={.status.containerStatuses[0].ready}"))

			f.kubectl("exec", pod, "--", "sh", "-c", "kill -CONT "+startup)
			f.kubectl("wait", "pod/"+pod, "--for=condition=Ready", "--timeout=3m")
			f.verify(proven)
			require.Equal(t, c.restarts, f.restarts())
			require.Contains(t, f.kubectl("logs", pod), "not properly shut down; automatic recovery in progress")
			require.Equal(t, "300000", f.sql("select count(*) from ballast"))
		})
	}
}

// restarts is how often the container was started again.
func (f *fixture) restarts() int {
	f.t.Helper()
	count, err := strconv.Atoi(f.kubectl("get", "pod", pod, "--output=jsonpath={.status.containerStatuses[0].restartCount}"))
	require.NoError(f.t, err)
	return count
}
