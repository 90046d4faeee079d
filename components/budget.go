package components

import (
	"fmt"
	"time"
)

// budget is the time that stopping and starting the server may take. All of it
// follows from one setting, so that the order can never be wrong:
//
//	checkpoint before the stop < shutdown < update
//
// The difference between the first two is what the fast shutdown has left.
type budget struct {
	// shutdown is from the decision to stop the pod until it is killed. A server
	// that is killed loses nothing, but has to replay its log at the next start.
	shutdown time.Duration
}

// checkpoint is the part of the shutdown that the checkpoint before it may use.
// What it has written by then, the shutdown need not write.
func (b budget) checkpoint() time.Duration { return b.shutdown / 2 }

// update is how long an update waits for the StatefulSet: for the old pod to
// stop, and then for the new one to be ready.
func (b budget) update() time.Duration { return b.shutdown + startTimeout }

const (
	// startTimeout is how long an update waits for a server to be ready.
	startTimeout = 5 * time.Minute

	// recoveryTimeout is the longest replay of the log after a crash that a
	// start is given before the pod is started anew, which would begin the
	// replay again. It is not part of the order above: an update that does not
	// wait for it ends with an error and leaves the server to its recovery.
	recoveryTimeout = 24 * time.Hour

	// probeTimeout is how long one run of a probe may take. A busy node needs
	// seconds to start a process.
	probeTimeout = 10 * time.Second
)

// Limits of the setting.
const (
	minShutdownTimeout = 10 * time.Second
	maxShutdownTimeout = time.Hour
)

func (a PostgresArgs) checkShutdownTimeout() *InvalidSetting {
	timeout := a.ShutdownTimeout
	if timeout < minShutdownTimeout || timeout > maxShutdownTimeout || timeout%time.Second != 0 {
		return invalid("shutdownTimeout", timeout.String(), expectedShutdownTimeout, set("shutdownTimeout", DefaultShutdownTimeout.String()))
	}
	return nil
}

var expectedShutdownTimeout = fmt.Sprintf("whole seconds from %s to %s, like 90s or 2m", minShutdownTimeout, maxShutdownTimeout)

func readShutdownTimeout(a *PostgresArgs, value string) *InvalidSetting {
	timeout, err := time.ParseDuration(value)
	if err != nil || timeout == 0 {
		return invalid("shutdownTimeout", value, expectedShutdownTimeout, set("shutdownTimeout", DefaultShutdownTimeout.String()))
	}
	a.ShutdownTimeout = timeout
	return nil
}

// seconds is a duration as the Kubernetes API counts it.
func seconds(d time.Duration) int { return int(d / time.Second) }
