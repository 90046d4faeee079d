package conflict

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/problem"
	"stateful-postgres/components/settings"
)

// freeVolume is one that fits a claim with default settings.
func freeVolume() *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv-1"},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:         corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")},
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadWriteMany},
			StorageClassName: "manual",
			VolumeMode:       ptr(corev1.PersistentVolumeFilesystem),
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable},
	}
}

func TestVolumeThatTheClaimCannotHaveIsRefused(t *testing.T) {
	t.Parallel()
	const (
		list    = "; list them with: kubectl get pv"
		reserve = `; reserve it with: kubectl patch pv pv-1 --type=merge -p ` +
			`'{"spec":{"claimRef":{"namespace":"codewizard","name":"postgredb-postgres-0","uid":null,"resourceVersion":null}}}'`
	)
	belongs := func(namespace, name string, uid types.UID) func(*corev1.PersistentVolume) {
		return func(volume *corev1.PersistentVolume) {
			volume.Spec.ClaimRef = &corev1.ObjectReference{Namespace: namespace, Name: name, UID: uid}
			volume.Status.Phase = corev1.VolumeReleased
		}
	}
	for _, test := range []struct {
		name   string
		args   settings.Args
		volume func(*corev1.PersistentVolume)
		expect []string
	}{
		{name: "free"},
		{name: "whole of it", args: settings.Args{Storage: "5Gi", StorageClass: "manual", AccessModes: []string{settings.AccessModeReadWriteMany}}},
		{name: "reserved for the claim", volume: belongs("codewizard", "postgredb-postgres-0", "")},
		{
			name: "released by an earlier claim of the same name", volume: belongs("codewizard", "postgredb-postgres-0", "1"),
			expect: []string{`volumeName: got "pv-1", expected a volume that is free, and this one belongs to an earlier claim postgredb-postgres-0` + reserve},
		},
		{
			name: "released by another claim", volume: belongs("codewizard", "postgres-pv-claim", "1"),
			expect: []string{`volumeName: got "pv-1", expected a volume that is free, and this one belongs to claim postgres-pv-claim in namespace codewizard, which is gone` + reserve},
		},
		{
			name: "bound to another claim",
			volume: func(volume *corev1.PersistentVolume) {
				belongs("lab", "postgredb-postgres-0", "1")(volume)
				volume.Status.Phase = corev1.VolumeBound
			},
			expect: []string{`volumeName: got "pv-1", expected a volume that is free, and this one belongs to claim postgredb-postgres-0 in namespace lab; ` +
				`release it as README.md shows under "Taking over the lab's own YAML", or choose another`},
		},
		{
			name: "being deleted", volume: func(volume *corev1.PersistentVolume) { volume.DeletionTimestamp = &metav1.Time{} },
			expect: []string{`volumeName: got "pv-1", expected a volume that is not being deleted; choose another` + list},
		},
		{
			name: "without a file system", volume: func(volume *corev1.PersistentVolume) { volume.Spec.VolumeMode = ptr(corev1.PersistentVolumeBlock) },
			expect: []string{`volumeName: got "pv-1", expected a volume with a file system, not of volume mode Block; choose another` + list},
		},
		{
			name: "nothing fits", args: settings.Args{Storage: "6Gi", StorageClass: "fast"},
			volume: func(volume *corev1.PersistentVolume) {
				volume.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
			},
			expect: []string{
				`accessModes: got "ReadWriteOnce", expected what volume pv-1 offers: ReadWriteMany; set it with: pulumi config set accessModes ReadWriteMany`,
				`storage: got "6Gi", expected at most 5Gi, the size of volume pv-1; set it with: pulumi config set storage 5Gi`,
				`storageClass: got "fast", expected manual, the class of volume pv-1; set it with: pulumi config set storageClass manual`,
			},
		},
		{
			name: "no class", args: settings.Args{StorageClass: "fast"}, volume: func(volume *corev1.PersistentVolume) { volume.Spec.StorageClassName = "" },
			expect: []string{`storageClass: got "fast", expected none, as volume pv-1 has none; remove it with: pulumi config rm storageClass`},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			volume := freeVolume()
			if test.volume != nil {
				test.volume(volume)
			}
			test.args.VolumeName = volume.Name
			conflicts := data(test.args.WithDefaults(), observe.Observation{Volume: volume})
			var found []string
			for _, conflict := range conflicts {
				found = append(found, conflict.Line(problem.CommandLine))
			}
			require.Equal(t, test.expect, found)
		})
	}
	missing := settings.Args{VolumeName: "pv-2"}.WithDefaults()
	require.EqualError(t, refusal(data(missing, observe.Observation{})),
		"1 setting is invalid, nothing was changed:\n  "+`volumeName: got "pv-2", expected a PersistentVolume that exists`+list)
	require.NoError(t, refusal(data(missing, observe.Observation{VolumeHidden: true})), "one that may not be read is left to the API server")
}

func TestVolumeOfAClaimThatExistsCannotChange(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, has, set string
		phase          corev1.PersistentVolumeClaimPhase
		volume         *corev1.PersistentVolume
		marker         *corev1.ConfigMap
		expect         string
	}{
		{name: "the claim's own", has: "pv-1", set: "pv-1", phase: corev1.ClaimBound},
		{name: "setting taken away", has: "pv-1", phase: corev1.ClaimBound},
		{
			name: "another", has: "pv-1", set: "pv-2", phase: corev1.ClaimBound,
			expect: `volumeName: got "pv-2", expected pv-1 or none, because claim postgredb-postgres-0 has that one, and a claim's volume cannot change; ` +
				`remove it with: pulumi config rm volumeName; for other data use another stack with a namespace of its own`,
		},
		{name: "a claim that never had one", set: "pv-1", phase: corev1.ClaimPending, volume: freeVolume()},
		{
			name: "a claim that waits for a new one where data was", set: "pv-1", phase: corev1.ClaimPending, volume: freeVolume(), marker: marker,
			expect: `volumeName: got "pv-1", expected none, because claim postgredb-postgres-0 is there already, and waits for a volume of its own; ` +
				`nothing is on it yet; delete it with: kubectl delete -n codewizard pvc postgredb-postgres-0, or: pulumi config rm volumeName`,
		},
		{name: "a claim that waits for this one", has: "pv-1", set: "pv-1", phase: corev1.ClaimPending, volume: freeVolume()},
		{
			name: "a claim that waits for one that is gone", has: "pv-1", set: "pv-1", phase: corev1.ClaimPending,
			expect: `volumeName: got "pv-1", expected a PersistentVolume that exists; list them with: kubectl get pv`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			claim := boundClaim()
			claim.Spec.VolumeName, claim.Status.Phase = test.has, test.phase
			err := refusal(data(settings.Args{VolumeName: test.set}.WithDefaults(), observe.Observation{Claim: claim, Volume: test.volume, Marker: test.marker}))
			if test.expect == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, "1 setting is invalid, nothing was changed:\n  "+test.expect)
			requireFixForPrograms(t, err)
		})
	}
}

func TestNamesOfATakenOverDatabaseCanBeCorrectedUntilItRan(t *testing.T) {
	t.Parallel()
	claim := boundClaim()
	claim.Spec.VolumeName = "pv-1"
	args := settings.Args{VolumeName: "pv-1", User: "clerk", Database: "shop"}.WithDefaults()
	require.NoError(t, refusal(data(args, observe.Observation{Claim: claim})))
	require.Len(t, data(args, observe.Observation{Claim: claim, Marker: marker}), 2)
}
