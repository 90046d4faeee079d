package components

import "time"

// The time that stopping and starting the server may take. Everything follows
// from terminationGracePeriod, so that the order can never be wrong:
//
//	checkpoint before the stop < terminationGracePeriod < update timeout
//
// The difference between the first two is what the fast shutdown has left.
const (
	// terminationGracePeriod is from the decision to stop the pod until it is
	// killed. A server that is killed loses nothing, but has to replay its log
	// at the next start.
	terminationGracePeriod = 2 * time.Minute

	// checkpointTimeout is the part of it that the checkpoint before the stop
	// may use. What it has written by then, the shutdown need not write.
	checkpointTimeout = terminationGracePeriod / 2

	// updateTimeout is how long an update waits for the StatefulSet: for the
	// old pod to stop, and then for the new one to be ready.
	updateTimeout = terminationGracePeriod + 5*time.Minute

	// recoveryTimeout is the longest replay of the log after a crash that a
	// start is given before the pod is started anew, which would begin the
	// replay again. It is not part of the order above: an update that does not
	// wait for it ends with an error and leaves the server to its recovery.
	recoveryTimeout = 24 * time.Hour
)

// probeTimeout is how long one run of a probe may take. A busy node needs
// seconds to start a process.
const probeTimeout = 10 * time.Second

// seconds is a duration as the Kubernetes API counts it.
func seconds(d time.Duration) int { return int(d / time.Second) }
