package conflict

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/settings"
)

// deleted is an object of a namespace that somebody is deleting.
func deleted(name string, finalizers ...string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "codewizard", Name: name, DeletionTimestamp: &metav1.Time{}, Finalizers: finalizers}
}

// bound is a claim with its volume, which outlives it or does not.
func bound(policy corev1.PersistentVolumeReclaimPolicy) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) {
	claim, volume := boundClaim(), freeVolume()
	claim.Spec.VolumeName, volume.Spec.PersistentVolumeReclaimPolicy = volume.Name, policy
	return claim, volume
}

func TestUpdateOfWhatIsBeingDeletedIsRefused(t *testing.T) {
	t.Parallel()
	const (
		section = ` as README.md shows under "When the volume is being deleted"`
		keep    = `first keep the volume with: kubectl patch pv pv-1 -p '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}', and then bring the data back` + section
		stop    = "stop the server with: pulumi config set replicas 0, and bring the data back" + section
		wait    = "one that stays, or none, because what is written to this one goes with it; wait until it is gone with: kubectl wait -n codewizard "
		claimIs = "claim postgredb-postgres-0: got one that is being deleted, expected one that stays, because it goes when the server stops or restarts, "
	)
	claimDeleted := func(policy corev1.PersistentVolumeReclaimPolicy) observe.Observation {
		claim, volume := bound(policy)
		claim.DeletionTimestamp = &metav1.Time{}
		return observe.Observation{Claim: claim, ClaimVolume: volume, StorageClass: class(true)}
	}
	volumeDeleted := func(policy corev1.PersistentVolumeReclaimPolicy) observe.Observation {
		claim, volume := bound(policy)
		volume.DeletionTimestamp = &metav1.Time{}
		return observe.Observation{Claim: claim, ClaimVolume: volume, StorageClass: class(true)}
	}
	namespaceDeleted := func(seen observe.Observation) observe.Observation {
		seen.Namespace = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "codewizard", DeletionTimestamp: &metav1.Time{}}}
		return seen
	}
	hidden := claimDeleted("")
	hidden.ClaimVolume, hidden.ClaimVolumeHidden = nil, true
	unbound := claimDeleted("")
	unbound.Claim.Spec.VolumeName, unbound.ClaimVolume, unbound.Claim.Status.Phase = "", nil, corev1.ClaimPending
	kept, keptVolume := bound(corev1.PersistentVolumeReclaimRetain)
	stuck := namespaceDeleted(observe.Observation{})
	stuck.Namespace.Status.Conditions = []corev1.NamespaceCondition{
		{Type: corev1.NamespaceContentRemaining, Status: corev1.ConditionTrue, Message: "Some resources are remaining: widgets.example.com has 1 resource instances"},
		{Type: corev1.NamespaceDeletionDiscoveryFailure, Status: corev1.ConditionFalse, Message: "All resources successfully discovered"},
	}
	for _, test := range []struct {
		name   string
		stop   bool
		seen   observe.Observation
		expect []string
	}{
		{name: "nothing", seen: observe.Observation{Claim: kept, ClaimVolume: keptVolume}},
		{name: "claim", seen: claimDeleted(corev1.PersistentVolumeReclaimDelete), expect: []string{claimIs + "and the volume with the data goes with it; " + keep}},
		{name: "claim, and a stop", stop: true, seen: claimDeleted(corev1.PersistentVolumeReclaimDelete), expect: []string{claimIs + "and the volume with the data goes with it; " + keep}},
		{name: "claim, volume unknown, and a stop", stop: true, seen: hidden, expect: []string{claimIs + "and the volume with the data goes with it; " + keep}},
		{name: "claim, volume kept", seen: claimDeleted(corev1.PersistentVolumeReclaimRetain), expect: []string{claimIs + "which would come back on another volume; " + stop}},
		{name: "claim, volume kept, and a stop", stop: true, seen: claimDeleted(corev1.PersistentVolumeReclaimRetain)},
		{
			name: "claim that has no volume yet", seen: unbound,
			expect: []string{"claim postgredb-postgres-0: got one that is being deleted, expected " + wait + "pvc postgredb-postgres-0 --for=delete --timeout=5m, and then run pulumi up again"},
		},
		{
			name: "volume", seen: volumeDeleted(corev1.PersistentVolumeReclaimDelete),
			expect: []string{"volume pv-1: got one that is being deleted, expected one that stays, because it goes when its claim goes, which nobody could undo; " + keep},
		},
		{
			name: "volume, kept", seen: volumeDeleted(corev1.PersistentVolumeReclaimRetain),
			expect: []string{"volume pv-1: got one that is being deleted, expected one that stays, because it goes when its claim goes, which nobody could undo; " + stop},
		},
		{name: "volume, kept, and a stop", stop: true, seen: volumeDeleted(corev1.PersistentVolumeReclaimRetain)},
		{
			name: "namespace with a volume", stop: true, seen: namespaceDeleted(claimDeleted(corev1.PersistentVolumeReclaimDelete)),
			expect: []string{"namespace codewizard: got one that is being deleted, expected one that stays, because everything in it goes with it, the volume with the data, too; " + keep},
		},
		{
			name: "namespace with a volume that is kept", stop: true, seen: namespaceDeleted(claimDeleted(corev1.PersistentVolumeReclaimRetain)),
			expect: []string{"namespace codewizard: got one that is being deleted, expected one that stays, because everything in it goes with it; " +
				"wait until it is gone with: kubectl wait namespace codewizard --for=delete --timeout=5m, and then bring volume pv-1 back" + section},
		},
		{
			name: "namespace that waits for somebody", stop: true, seen: stuck,
			expect: []string{"namespace codewizard: got one that is being deleted, expected one that stays, because everything in it goes with it; " +
				"wait until it is gone with: kubectl wait namespace codewizard --for=delete --timeout=5m, and then run pulumi up again; " +
				"what it waits for: Some resources are remaining: widgets.example.com has 1 resource instances"},
		},
		{
			name: "what holds no data",
			seen: observe.Observation{
				StatefulSet:       &appsv1.StatefulSet{ObjectMeta: deleted("postgres", "foregroundDeletion")},
				Services:          []*corev1.Service{{ObjectMeta: deleted("postgres", "service.kubernetes.io/load-balancer-cleanup")}},
				ConfigMap:         &corev1.ConfigMap{ObjectMeta: deleted("postgres-config")},
				Marker:            &corev1.ConfigMap{ObjectMeta: deleted("postgres-data-expected")},
				Credentials:       &corev1.Secret{ObjectMeta: deleted("postgres-credentials")},
				CertificateSecret: &corev1.Secret{ObjectMeta: deleted("postgres-tls")},
			},
			expect: []string{
				"StatefulSet postgres: got one that is being deleted, expected " + wait + "statefulset postgres --for=delete --timeout=5m, and then run pulumi up again; " +
					"it waits for whoever has to take away its finalizers: foregroundDeletion",
				"Service postgres: got one that is being deleted, expected " + wait + "service postgres --for=delete --timeout=5m, and then run pulumi up again; " +
					"it waits for whoever has to take away its finalizers: service.kubernetes.io/load-balancer-cleanup",
				"ConfigMap postgres-config: got one that is being deleted, expected " + wait + "configmap postgres-config --for=delete --timeout=5m, and then run pulumi up again",
				"ConfigMap postgres-data-expected: got one that is being deleted, expected " + wait + "configmap postgres-data-expected --for=delete --timeout=5m, and then run pulumi up again",
				"Secret postgres-credentials: got one that is being deleted, expected " + wait + "secret postgres-credentials --for=delete --timeout=5m, and then run pulumi up again",
				"Secret postgres-tls: got one that is being deleted, expected " + wait + "secret postgres-tls --for=delete --timeout=5m, and then run pulumi up again",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			args := settings.Args{}
			if test.stop {
				args.Replicas = ptr(0)
			}
			err := refusal(beingDeleted(args.WithDefaults(), test.seen))
			if test.expect == nil {
				require.NoError(t, err)
				return
			}
			title := "1 thing stands in the way, nothing was changed:"
			if len(test.expect) > 1 {
				title = "6 things stand in the way, nothing was changed:"
			}
			require.EqualError(t, err, title+"\n  "+strings.Join(test.expect, "\n  "))
			requireFixForPrograms(t, err)
		})
	}
}

func TestWhatIsBeingDeletedIsFoundBeforeTheSettings(t *testing.T) {
	t.Parallel()
	claim, volume := bound(corev1.PersistentVolumeReclaimDelete)
	claim.DeletionTimestamp = &metav1.Time{}
	seen := observe.Observation{Claim: claim, ClaimVolume: volume}
	found := Find(settings.Args{User: "clerk"}.WithDefaults(), seen, "pulumi-p-dev")
	require.Len(t, found, 1)
	require.Equal(t, "claim postgredb-postgres-0", found[0].Setting)
}

func TestStopOnAVolumeThatIsKeptSaysWhatComesNext(t *testing.T) {
	t.Parallel()
	claim, volume := bound(corev1.PersistentVolumeReclaimRetain)
	args, seen := settings.Args{Replicas: ptr(0)}.WithDefaults(), observe.Observation{Claim: claim, ClaimVolume: volume}
	require.Empty(t, Warnings(args, seen))
	claim.DeletionTimestamp = &metav1.Time{}
	require.Equal(t, []string{"claim postgredb-postgres-0 or its volume is being deleted; the data stays on volume pv-1; " +
		`bring it back as README.md shows under "When the volume is being deleted"`}, Warnings(args, seen))
}

func TestRefusalsOfDeletionsPointAtASectionOfTheReadme(t *testing.T) {
	t.Parallel()
	requireSection(t, deletionSection)
}

// requireSection requires that README.md has the section that advice names.
func requireSection(t *testing.T, advice string) {
	t.Helper()
	readme, err := os.ReadFile("../../../README.md")
	require.NoError(t, err)
	section := strings.Split(advice, `"`)
	require.Len(t, section, 3)
	require.Contains(t, string(readme), "\n## "+section[1]+"\n")
}
