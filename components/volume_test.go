package components

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
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
		args   PostgresArgs
		volume func(*corev1.PersistentVolume)
		expect []string
	}{
		{name: "free"},
		{name: "whole of it", args: PostgresArgs{Storage: "5Gi", StorageClass: "manual", AccessModes: []string{AccessModeReadWriteMany}}},
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
			name: "nothing fits", args: PostgresArgs{Storage: "6Gi", StorageClass: "fast"},
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
			name: "no class", args: PostgresArgs{StorageClass: "fast"}, volume: func(volume *corev1.PersistentVolume) { volume.Spec.StorageClassName = "" },
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
			conflicts := test.args.withDefaults().conflicts(existing{volume: volume, volumeSeen: true})
			var found []string
			for _, conflict := range conflicts {
				found = append(found, conflict.Error())
			}
			require.Equal(t, test.expect, found)
		})
	}
	missing := PostgresArgs{VolumeName: "pv-2"}.withDefaults()
	require.EqualError(t, missing.conflicts(existing{volumeSeen: true}).orNil(),
		"1 setting is invalid, nothing was changed:\n  "+`volumeName: got "pv-2", expected a PersistentVolume that exists`+list)
	require.NoError(t, missing.conflicts(existing{}).orNil(), "one that may not be read is left to the API server")
}

func TestVolumeThatCouldNotBeLookedAtIsWarnedOf(t *testing.T) {
	t.Parallel()
	args := PostgresArgs{VolumeName: "pv-1"}.withDefaults()
	require.Equal(t, "volume pv-1 may not be read with these credentials, so that nothing can be said about it beforehand; "+
		"a claim that it does not fit stays Pending, and kubectl describe -n codewizard pvc postgredb-postgres-0 says why",
		args.unseenVolume(existing{}))
	for name, live := range map[string]existing{
		"seen": {volume: freeVolume(), volumeSeen: true}, "not there": {volumeSeen: true}, "no cluster": {unseen: true}, "claimed": {claim: boundClaim()},
	} {
		require.Empty(t, args.unseenVolume(live), name)
	}
	require.Empty(t, PostgresArgs{}.withDefaults().unseenVolume(existing{}))
}

func TestVolumeOfAClaimThatExistsCannotChange(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, has, set string
		phase          corev1.PersistentVolumeClaimPhase
		volume         *corev1.PersistentVolume
		expect         string
	}{
		{name: "the claim's own", has: "pv-1", set: "pv-1", phase: corev1.ClaimBound},
		{name: "setting taken away", has: "pv-1", phase: corev1.ClaimBound},
		{
			name: "another", has: "pv-1", set: "pv-2", phase: corev1.ClaimBound,
			expect: `volumeName: got "pv-2", expected pv-1 or none, because claim postgredb-postgres-0 has that one, and a claim's volume cannot change; ` +
				`remove it with: pulumi config rm volumeName; for other data use another stack with a namespace of its own`,
		},
		{
			name: "a claim that waits for a new one", set: "pv-1", phase: corev1.ClaimPending, volume: freeVolume(),
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
			err := PostgresArgs{VolumeName: test.set}.withDefaults().conflicts(existing{claim: claim, volume: test.volume, volumeSeen: true}).orNil()
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
	args := PostgresArgs{VolumeName: "pv-1", User: "clerk", Database: "shop"}.withDefaults()
	require.NoError(t, args.conflicts(existing{claim: claim}).orNil())
	require.Len(t, args.conflicts(existing{claim: claim, marker: true}), 2)
}

func TestClaimAsksForWhatItHas(t *testing.T) {
	t.Parallel()
	classless, bound := freeVolume(), boundClaim()
	classless.Spec.StorageClassName = ""
	bound.Spec.VolumeName = "pv-9"
	for _, test := range []struct {
		name          string
		args          PostgresArgs
		live          existing
		class, volume *string
	}{
		{name: "left to the cluster"},
		{name: "settings", args: PostgresArgs{StorageClass: "fast", VolumeName: "pv-1"}, class: ptr("fast"), volume: ptr("pv-1")},
		{name: "class of the volume", args: PostgresArgs{VolumeName: "pv-1"}, live: existing{volume: freeVolume()}, class: ptr("manual"), volume: ptr("pv-1")},
		{name: "volume without a class", args: PostgresArgs{VolumeName: "pv-1"}, live: existing{volume: classless}, class: ptr(""), volume: ptr("pv-1")},
		{name: "claim that is taken back", live: existing{claim: bound}, class: ptr("fast"), volume: ptr("pv-9")},
	} {
		class, volume := test.args.chosen(test.live)
		require.Equal(t, test.class, class, test.name)
		require.Equal(t, test.volume, volume, test.name)
	}
	s := setup(t, &PostgresArgs{VolumeName: "pv-1"}, nil)
	require.Equal(t, "pv-1", s.input(t, claimKey, "spec", "volumeName"))
	require.Equal(t, []string{"spec.storageClassName", "spec.volumeName"}, s.resources[claimKey].RegisterRPC.GetIgnoreChanges(),
		"a setting that is taken away must not replace the claim")
}

func TestLookUpFindsTheVolume(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(freeVolume())
	look := func(name string) existing {
		live, err := lookUp(context.Background(), clients{client.CoreV1(), client.AppsV1(), client.StorageV1()}, "codewizard", name)
		require.NoError(t, err)
		return live
	}
	require.Equal(t, existing{}, look(""))
	require.Equal(t, existing{volumeSeen: true}, look("pv-2"))
	require.Equal(t, "pv-1", look("pv-1").volume.Name)
	client.PrependReactor("get", "persistentvolumes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "persistentvolumes"}, "pv-1", nil)
	})
	require.Equal(t, existing{}, look("pv-1"), "not everybody may read volumes")
}

func TestNamespaceOfAnotherSetUpIsRefused(t *testing.T) {
	t.Parallel()
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Namespace: "codewizard"} }
	own := map[string]string{"app.kubernetes.io/name": "postgres", "app.kubernetes.io/instance": "postgres"}
	set := func(change func(*appsv1.StatefulSetSpec)) *appsv1.StatefulSet {
		spec := appsv1.StatefulSetSpec{
			ServiceName: "postgres-headless", PodManagementPolicy: appsv1.ParallelPodManagement,
			Selector:             &metav1.LabelSelector{MatchLabels: own},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "postgredb"}}},
		}
		change(&spec)
		return &appsv1.StatefulSet{ObjectMeta: meta("postgres"), Spec: spec}
	}
	service := func(name string, selector map[string]string) *corev1.Service {
		return &corev1.Service{ObjectMeta: meta(name), Spec: corev1.ServiceSpec{Selector: selector}}
	}
	lab := map[string]string{"app": "postgres"}
	for _, test := range []struct {
		name    string
		object  runtime.Object
		foreign string
	}{
		{"own StatefulSet", set(func(*appsv1.StatefulSetSpec) {}), ""},
		{"other selector", set(func(s *appsv1.StatefulSetSpec) { s.Selector.MatchLabels = lab }), "StatefulSet postgres (app=postgres)"},
		{"other service", set(func(s *appsv1.StatefulSetSpec) { s.ServiceName = "postgres" }),
			"StatefulSet postgres (app.kubernetes.io/instance=postgres,app.kubernetes.io/name=postgres)"},
		{"other policy", set(func(s *appsv1.StatefulSetSpec) { s.PodManagementPolicy = appsv1.OrderedReadyPodManagement }),
			"StatefulSet postgres (app.kubernetes.io/instance=postgres,app.kubernetes.io/name=postgres)"},
		{"no claim template", set(func(s *appsv1.StatefulSetSpec) { s.VolumeClaimTemplates = nil }),
			"StatefulSet postgres (app.kubernetes.io/instance=postgres,app.kubernetes.io/name=postgres)"},
		{"own Service", service("postgres", own), ""},
		{"Service that somebody changed", service("postgres", map[string]string{"app.kubernetes.io/instance": "nobody"}), ""},
		{"other Service", service("postgres", lab), "Service postgres (app=postgres)"},
		{"other headless Service", service("postgres-headless", lab), "Service postgres-headless (app=postgres)"},
		{"own ConfigMap", &corev1.ConfigMap{ObjectMeta: meta("postgres-config"), Data: map[string]string{"POSTGRES_DB": "shop"}}, ""},
		{"ConfigMap with a password", &corev1.ConfigMap{ObjectMeta: meta("postgres-config"), Data: map[string]string{"POSTGRES_PASSWORD": "x"}},
			"ConfigMap postgres-config (with a password)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			live, err := lookUpIn(fake.NewClientset(test.object), "codewizard")
			require.NoError(t, err)
			refused := checkOtherSetUp(live, "codewizard")
			if test.foreign == "" {
				require.Nil(t, refused)
				return
			}
			require.Equal(t, `namespace: got "codewizard", expected one without the objects of another set-up, as this one has: `+test.foreign+
				`; keep its rows as README.md shows under "Taking over the lab's own YAML", or choose another with: pulumi config set namespace`, refused.Error())
			elsewhere, err := lookUpIn(fake.NewClientset(test.object), "shop")
			require.NoError(t, err)
			require.Nil(t, checkOtherSetUp(elsewhere, "shop"))
		})
	}
}

func TestLookThatFailsIsNotAnEmptyNamespace(t *testing.T) {
	t.Parallel()
	for resource, message := range map[string]string{
		"statefulsets": "stateful set postgres in namespace codewizard: connection refused",
		"services":     "service postgres in namespace codewizard: connection refused",
		"configmaps":   "config map postgres-config in namespace codewizard: connection refused",
	} {
		client := fake.NewClientset()
		client.PrependReactor("get", resource, func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("connection refused")
		})
		_, err := lookUpIn(client, "codewizard")
		require.EqualError(t, err, message)
	}
}
