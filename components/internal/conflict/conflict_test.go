package conflict

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/problem"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

func ptr[T any](value T) *T { return &value }

// marker is there once a server was ready.
var marker = &corev1.ConfigMap{}

// class is the storage class of a claim, which lets it grow or not.
func class(grows bool) *storagev1.StorageClass {
	return &storagev1.StorageClass{AllowVolumeExpansion: &grows}
}

// refusal is what somebody at a command line is told.
func refusal(found []problem.Problem) error { return problem.AsError(found, problem.CommandLine) }

// requireFixForPrograms requires that what to do needs no `pulumi config` in a
// program that declares the component itself.
func requireFixForPrograms(t *testing.T, err error) {
	t.Helper()
	var invalid *problem.Error
	require.ErrorAs(t, err, &invalid)
	require.NotContains(t, problem.AsError(invalid.Problems, problem.Program).Error(), "pulumi config")
}

// boundClaim is a claim that holds the data of a server with default settings.
func boundClaim() *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name: "postgredb-postgres-0", Namespace: "codewizard",
			Annotations: map[string]string{contract.AnnotationDatabase: "codewizard", contract.AnnotationUser: "codewizard"},
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: ptr("fast"),
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			},
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
}

func TestSettingsThatDoNotFitTheDataAreRefused(t *testing.T) {
	t.Parallel()
	const otherStack = "; for other data use another stack with a namespace of its own"
	pending := func(claim *corev1.PersistentVolumeClaim) { claim.Status.Phase = corev1.ClaimPending }
	for _, test := range []struct {
		name   string
		args   settings.Args
		claim  func(*corev1.PersistentVolumeClaim)
		fixed  bool
		expect string
	}{
		{name: "same settings"},
		{name: "same settings, spelled out", args: settings.Args{Storage: "1024Mi", StorageClass: "fast"}},
		{name: "larger volume", args: settings.Args{Storage: "2Gi"}},
		{
			name: "larger volume, fixed size", args: settings.Args{Storage: "2Gi"}, fixed: true,
			expect: `storage: got "2Gi", expected 1Gi, because storage class fast does not let a volume grow; ` +
				`set it with: pulumi config set storage 1Gi, or set allowVolumeExpansion on the class if its volumes support it`,
		},
		{
			name: "larger volume, no storage class", args: settings.Args{Storage: "2Gi"}, fixed: true,
			claim: func(claim *corev1.PersistentVolumeClaim) { claim.Spec.StorageClassName = nil },
			expect: `storage: got "2Gi", expected 1Gi, because it has no storage class that lets it grow; ` +
				`set it with: pulumi config set storage 1Gi, or set allowVolumeExpansion on the class if its volumes support it`,
		},
		{name: "larger volume, not bound yet", args: settings.Args{Storage: "2Gi"}, claim: pending},
		{
			name: "nothing is the same, not bound yet", claim: pending,
			args: settings.Args{Storage: "512Mi", StorageClass: "slow", AccessModes: []string{settings.AccessModeReadWriteMany}},
		},
		{
			name: "other storage class, and the claim has a volume to wait for", args: settings.Args{StorageClass: "slow"},
			claim: func(claim *corev1.PersistentVolumeClaim) {
				pending(claim)
				claim.Spec.VolumeName = "pv-1"
			},
			expect: `storageClass: got "slow", expected fast, because the storage class of the volume that holds the data cannot change; ` +
				`set it with: pulumi config set storageClass fast` + otherStack,
		},
		{
			name: "smaller volume", args: settings.Args{Storage: "512Mi"},
			expect: `storage: got "512Mi", expected at least 1Gi, because a volume cannot shrink; ` +
				`set it with: pulumi config set storage 1Gi`,
		},
		{
			name: "other storage class", args: settings.Args{StorageClass: "slow"},
			expect: `storageClass: got "slow", expected fast, because the storage class of the volume that holds the data cannot change; ` +
				`set it with: pulumi config set storageClass fast` + otherStack,
		},
		{
			name: "other access modes", args: settings.Args{AccessModes: []string{settings.AccessModeReadWriteMany}},
			expect: `accessModes: got "ReadWriteMany", expected ReadWriteOnce, because the access modes of the volume that holds the data cannot change; ` +
				`set it with: pulumi config set accessModes ReadWriteOnce` + otherStack,
		},
		{
			name: "more access modes", args: settings.Args{AccessModes: []string{settings.AccessModeReadWriteOnce, settings.AccessModeReadWriteMany}},
			expect: `accessModes: got "ReadWriteOnce,ReadWriteMany", expected ReadWriteOnce, because the access modes of the volume that holds the data cannot change; ` +
				`set it with: pulumi config set accessModes ReadWriteOnce` + otherStack,
		},
		{
			name: "other user", args: settings.Args{User: "clerk"},
			expect: `user: got "clerk", expected codewizard, because the volume was initialized with it; ` +
				`set it with: pulumi config set user codewizard` + otherStack,
		},
		{
			name: "other database", args: settings.Args{Database: "shop"},
			expect: `database: got "shop", expected codewizard, because the volume was initialized with it; ` +
				`set it with: pulumi config set database codewizard` + otherStack,
		},
		{
			name: "other user of the system", args: settings.Args{RunAsUser: ptr(70)},
			expect: `runAsUser: got "70", expected 999, because the volume belongs to that user; ` +
				`set it with: pulumi config set runAsUser 999, or give the volume to the other one with: pulumi config set fixVolumeOwner true`,
		},
		{
			name: "other user of the system than before", args: settings.Args{}, claim: func(claim *corev1.PersistentVolumeClaim) {
				claim.Annotations[contract.AnnotationRunAsUser] = "70"
			},
			expect: `runAsUser: got "999", expected 70, because the volume belongs to that user; ` +
				`set it with: pulumi config set runAsUser 70, or give the volume to the other one with: pulumi config set fixVolumeOwner true`,
		},
		{name: "other user of the system, who is given the volume", args: settings.Args{RunAsUser: ptr(70), FixVolumeOwner: true}},
		{name: "other user of the system, nothing initialized yet", args: settings.Args{RunAsUser: ptr(70)}, claim: pending},
		{name: "other user, nothing initialized yet", args: settings.Args{User: "clerk", Database: "shop"}, claim: pending},
		{
			name: "claim that somebody else made", args: settings.Args{User: "clerk", Database: "shop", RunAsUser: ptr(70)},
			claim: func(claim *corev1.PersistentVolumeClaim) { claim.Annotations = nil },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			claim := boundClaim()
			if test.claim != nil {
				test.claim(claim)
			}
			err := refusal(data(test.args.WithDefaults(), observe.Observation{Claim: claim, StorageClass: class(!test.fixed)}))
			if test.expect == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, "1 setting is invalid, nothing was changed:\n  "+test.expect)
			requireFixForPrograms(t, err)
		})
	}
}

func TestConflictsAreReportedTogether(t *testing.T) {
	t.Parallel()
	args := settings.Args{
		Storage: "512Mi", StorageClass: "slow", AccessModes: []string{settings.AccessModeReadWriteMany}, User: "clerk", Database: "shop",
	}
	var names []string
	for _, conflict := range data(args.WithDefaults(), observe.Observation{Claim: boundClaim()}) {
		names = append(names, conflict.Setting)
	}
	require.Equal(t, []string{"accessModes", "database", "storage", "storageClass", "user"}, names)
}

func TestNothingConflictsWithAnEmptyNamespace(t *testing.T) {
	t.Parallel()
	require.Empty(t, data(settings.Args{StorageClass: "slow"}.WithDefaults(), observe.Observation{}))
}

func TestLostVolumeIsNotReplacedByAnEmptyOne(t *testing.T) {
	t.Parallel()
	const (
		begin   = `initializeEmptyVolume: got "false", expected true, because this server had data and `
		waysOut = `; name a volume that has it with: pulumi config set volumeName, or begin again without the old rows: pulumi config set initializeEmptyVolume true`
		volume  = begin + `the volume of claim postgredb-postgres-0 is gone` + waysOut
		all     = begin + `namespace codewizard is gone with the volume of claim postgredb-postgres-0` + waysOut
	)
	pending := boundClaim()
	pending.Status.Phase = corev1.ClaimPending
	restored := pending.DeepCopy()
	restored.Spec.VolumeName = "pv-1"
	snapshot := pending.DeepCopy()
	snapshot.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: "VolumeSnapshot", Name: "yesterday"}
	// What the state says, and what is left of the namespace.
	there, gone := true, false
	state := func(expected, namespace bool) observe.Observation {
		return observe.Observation{NamespaceExists: namespace, Last: []observe.Registered{{Namespace: "codewizard", DataExpected: expected}}}
	}
	hidden, withClaim := state(true, gone), state(true, there)
	hidden.NamespaceHidden = true
	unseen := state(true, gone)
	unseen.NoCluster = true
	withClaim.Claim = boundClaim()
	for _, test := range []struct {
		name string
		live observe.Observation
		anew bool
		want string
	}{
		{"first update", observe.Observation{}, false, ""},
		{"never started", observe.Observation{NamespaceExists: true, Claim: pending}, false, ""},
		{"data there", observe.Observation{NamespaceExists: true, Marker: marker, Claim: boundClaim()}, false, ""},
		{"claim deleted", observe.Observation{NamespaceExists: true, Marker: marker}, false, volume},
		{"claim deleted and made anew", observe.Observation{NamespaceExists: true, Marker: marker, Claim: pending}, false, volume},
		{"claim for an existing volume", observe.Observation{NamespaceExists: true, Marker: marker, Claim: restored}, false, ""},
		{"claim for a snapshot", observe.Observation{NamespaceExists: true, Marker: marker, Claim: snapshot}, false, ""},
		{"claim deleted, begin again on purpose", observe.Observation{NamespaceExists: true, Marker: marker}, true, ""},
		{"namespace deleted", state(true, gone), false, all},
		{"namespace deleted, as far as can be seen", hidden, false, volume},
		{"namespace deleted and made anew", state(true, there), false, volume},
		{"namespace deleted, made anew and filled", withClaim, false, ""},
		{"namespace deleted, begin again on purpose", state(true, gone), true, ""},
		{"no cluster to look at", unseen, false, ""},
		{"namespace deleted before the server ever started", state(false, gone), false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := refusal(data(settings.Args{InitializeEmptyVolume: test.anew}.WithDefaults(), test.live))
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, "1 setting is invalid, nothing was changed:\n  "+test.want)
		})
	}
}

func TestDataOfAnotherStackIsNotTaken(t *testing.T) {
	t.Parallel()
	claim := boundClaim()
	shop := settings.Args{Namespace: "shop"}
	require.Nil(t, otherOwner(shop, observe.Observation{}, "pulumi-p-dev"))
	require.Nil(t, otherOwner(shop, observe.Observation{Claim: claim}, "pulumi-p-dev"), "a claim that says nothing is taken over")
	claim.Annotations[contract.AnnotationFieldManager] = "pulumi-p-dev"
	require.Nil(t, otherOwner(shop, observe.Observation{Claim: claim}, "pulumi-p-dev"))
	require.Equal(t, `namespace: got "shop", expected one that does not hold the data of another stack or component, as this one does (pulumi-p-dev); `+
		`choose another with: pulumi config set namespace, or take the data over with: `+
		`kubectl annotate -n shop pvc postgredb-postgres-0 pulumi.com/patchFieldManager-`,
		otherOwner(shop, observe.Observation{Claim: claim}, "pulumi-p-prod").Line(problem.CommandLine))
}

func TestDataDoesNotMoveToAnotherNamespace(t *testing.T) {
	t.Parallel()
	last := func(namespaces ...string) (seen observe.Observation) {
		for _, namespace := range namespaces {
			seen.Last = append(seen.Last, observe.Registered{Namespace: namespace})
		}
		return seen
	}
	require.Nil(t, movedNamespace(settings.Args{Namespace: "shop"}, last()), "a first update")
	require.Nil(t, movedNamespace(settings.Args{Namespace: "shop"}, last("shop")))
	require.Nil(t, movedNamespace(settings.Args{Namespace: "shop-data"}, last("app-data", "shop-data")))
	require.Equal(t, `namespace: got "store", expected shop, because the data is there and cannot move to another namespace; `+
		`set it with: pulumi config set namespace shop; for other data use another stack with a namespace of its own`,
		movedNamespace(settings.Args{Namespace: "store"}, last("shop")).Line(problem.CommandLine))
}

func TestClaimWithoutItsVolumeIsRefused(t *testing.T) {
	t.Parallel()
	claim := boundClaim()
	claim.Spec.VolumeName, claim.Status.Phase = "pv-1", corev1.ClaimLost
	err := refusal(data(settings.Args{}.WithDefaults(), observe.Observation{NamespaceExists: true, Marker: marker, Claim: claim}))
	require.EqualError(t, err, "1 thing stands in the way, nothing was changed:\n  claim postgredb-postgres-0: got one whose volume pv-1 is gone, expected one that is bound; "+
		"restore the volume under its name, or give the claim up with: kubectl delete -n codewizard pvc postgredb-postgres-0, and then run pulumi up again")
	requireFixForPrograms(t, err)
}
