package check_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stateful-postgres/verify/internal/report"
)

const (
	keepVolume    = `kubectl patch pv pv-1 -p '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}'`
	reserveVolume = `kubectl patch pv pv-1 -p '{"spec":{"claimRef":{"name":"postgredb-postgres-0","namespace":"ns","uid":null,"resourceVersion":null}}}'`
	claimVolume   = `pulumi config set volumeName pv-1 && pulumi up --refresh`
)

// What is being deleted is held by the pod that uses it, and gone with its next stop.
func TestWhatIsBeingDeletedIsNoPass(t *testing.T) {
	t.Parallel()
	at := metav1.NewTime(time.Now().Add(-time.Minute))
	deleted := func(meta *metav1.ObjectMeta) {
		meta.DeletionTimestamp, meta.Finalizers = &at, []string{"kubernetes.io/pvc-protection"}
	}
	retain := func(w *world) { w.volume.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain }
	for name, test := range map[string]struct {
		change   func(*world)
		check    string
		status   report.Status
		detail   string
		hints    []string
		exitCode int
	}{
		"the claim": {
			func(w *world) { deleted(&w.claim.ObjectMeta) }, "claim", report.Violated,
			"it goes with the next stop of the pod; volume pv-1 with the data is deleted with it",
			[]string{keepVolume, "scale statefulset postgres --replicas=0", reserveVolume, claimVolume}, report.ExitViolated,
		},
		"the claim, its volume is kept": {
			func(w *world) { deleted(&w.claim.ObjectMeta); retain(w) }, "claim", report.Violated,
			"volume pv-1 with the data stays, and the server does not start again without it",
			[]string{"stop the server", reserveVolume, claimVolume}, report.ExitViolated,
		},
		"the claim, its volume may not be seen": {
			func(w *world) { deleted(&w.claim.ObjectMeta); w.volume = nil }, "claim", report.Violated,
			"volume pv-1 with the data may be deleted with it", []string{keepVolume}, report.ExitViolated,
		},
		"the namespace": {
			func(w *world) { deleted(&w.namespace.ObjectMeta) }, "namespace", report.Violated, "everything in it goes",
			[]string{keepVolume, "kubectl wait namespace ns --for=delete", reserveVolume, claimVolume}, report.ExitViolated,
		},
		"the volume": {
			func(w *world) { deleted(&w.volume.ObjectMeta) }, "volume", report.Violated, "it goes once its claim does, and the data with it",
			[]string{keepVolume, "kubectl get pv pv-1 -o yaml >volume.yaml", "declare the volume again", claimVolume}, report.ExitViolated,
		},
		"the volume, which is kept": {
			func(w *world) { deleted(&w.volume.ObjectMeta); retain(w) }, "volume", report.Violated, "the data stays where the volume had it",
			[]string{"kubectl get pv pv-1 -o yaml >volume.yaml", "declare the volume again"}, report.ExitViolated,
		},
		"the StatefulSet": {
			func(w *world) { deleted(&w.set.ObjectMeta) }, "StatefulSet", report.Unknown, "the server goes with it", []string{"pulumi up --refresh"}, report.ExitUnknown,
		},
		"the Service": {
			func(w *world) { w.serviceDeleted = &at }, "Service", report.Warning, "clients will not find the server", []string{"pulumi up --refresh"}, report.ExitProven,
		},
	} {
		for _, replicas := range []int{1, 0} {
			t.Run(name+map[int]string{1: ", up", 0: ", down"}[replicas], func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				witness := newWitness(t, w.dsn)
				require.Equal(t, report.ExitProven, w.look(t, witness, 1, 30*time.Second).ExitCode)
				if replicas == 0 {
					w.scaleToZero()
				}
				test.change(w)
				r := w.look(t, witness, replicas, 30*time.Second)
				require.Equal(t, test.exitCode, r.ExitCode, r.Summary)
				c := requireCheck(t, r, test.check, test.status, test.detail)
				for _, hint := range test.hints {
					require.Contains(t, c.Hint, hint)
				}
				if replicas == 1 && test.exitCode == report.ExitViolated {
					requireCheck(t, r, "earlier rows", report.Passed, "10 acknowledged rows")
					requireCheck(t, r, "new rows", report.Skipped, "")
				}
			})
		}
	}
}

// The way back makes a new claim for the same volume.
func TestClaimMadeAnewForTheSameVolumeIsNoLoss(t *testing.T) {
	t.Parallel()
	for _, replicas := range []int{1, 0} {
		for _, same := range []bool{true, false} {
			w := newWorld(t)
			w.volume.UID = "volume-uid"
			witness := newWitness(t, w.dsn)
			require.Equal(t, report.ExitProven, w.look(t, witness, 1, 30*time.Second).ExitCode)
			if replicas == 0 {
				w.scaleToZero()
			}
			w.claim.UID, w.volume.Spec.ClaimRef.UID = "another", "another"
			if !same {
				w.volume.UID = "volume of the same name"
			}
			r := w.look(t, witness, replicas, 30*time.Second)
			if !same {
				require.Equal(t, report.ExitViolated, r.ExitCode)
				requireCheck(t, r, "claim", report.Violated, "is another one than before")
				continue
			}
			require.Equal(t, report.ExitProven, r.ExitCode, r.Summary)
			requireCheck(t, r, "claim", report.Warning, "made anew for the same volume")
			if replicas == 1 {
				requireCheck(t, w.look(t, witness, 1, 30*time.Second), "claim", report.Passed, "UID and volume as recorded")
			}
		}
	}
}
