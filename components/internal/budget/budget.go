// Package budget holds the time that everything which is waited for may take.
package budget

import "time"

// Budget is the time that stopping and starting the server may take. All of it
// follows from one setting, so that the order can never be wrong:
//
//	checkpoint before the stop < shutdown < update
//
// The difference between the first two is what the fast shutdown has left.
type Budget struct {
	// Shutdown is from the decision to stop the pod until it is killed. A server
	// that is killed loses nothing, but has to replay its log at the next start.
	Shutdown time.Duration
}

// Checkpoint is the part of the shutdown that the checkpoint before it may use.
// What it has written by then, the shutdown need not write.
func (b Budget) Checkpoint() time.Duration { return b.Shutdown / 2 }

// Update is how long an update waits for the StatefulSet: for the old pod to
// stop, and then for the new one to be ready.
func (b Budget) Update() time.Duration { return b.Shutdown + Start }

const (
	// Start is how long an update waits for a server to be ready.
	Start = 5 * time.Minute

	// Probe is how long one run of a probe may take. The scripts end before it by
	// themselves, with a reason; a busy node needs seconds to start a process.
	Probe = 30 * time.Second

	// Check is how long the check of the parameters may take, the pull of an image
	// included.
	Check = 5 * time.Minute

	// Address is how long an update waits for a load balancer's address. The
	// server starts meanwhile.
	Address = 5 * time.Minute

	// Replace is how long a claim that never had a volume may take to be gone.
	Replace = 30 * time.Second

	// Handover is how long the first server may take until it takes the writes.
	Handover = 90 * time.Second

	// Effect is how long the members may take to take over a new password, and
	// parameters that restart one after the other.
	Effect = 5 * time.Minute

	// Look is how long the look at the cluster before an update may take.
	Look = 15 * time.Second
)

// Seconds is a duration as the Kubernetes API counts it.
func Seconds(d time.Duration) int { return int(d / time.Second) }
