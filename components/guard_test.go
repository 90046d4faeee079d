package components

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// boundClaim is a claim that holds the data of a server with default settings.
func boundClaim() *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name: "postgredb-postgres-0", Namespace: "codewizard",
			Annotations: map[string]string{annotationDatabase: "codewizard", annotationUser: "codewizard"},
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
		args   PostgresArgs
		claim  func(*corev1.PersistentVolumeClaim)
		fixed  bool
		expect string
	}{
		{name: "same settings"},
		{name: "same settings, spelled out", args: PostgresArgs{Storage: "1024Mi", StorageClass: "fast"}},
		{name: "larger volume", args: PostgresArgs{Storage: "2Gi"}},
		{
			name: "larger volume, fixed size", args: PostgresArgs{Storage: "2Gi"}, fixed: true,
			expect: `storage: got "2Gi", expected 1Gi, because storage class fast does not let a volume grow; ` +
				`set it with: pulumi config set storage 1Gi, or set allowVolumeExpansion on the class if its volumes support it`,
		},
		{
			name: "larger volume, no storage class", args: PostgresArgs{Storage: "2Gi"}, fixed: true,
			claim: func(claim *corev1.PersistentVolumeClaim) { claim.Spec.StorageClassName = nil },
			expect: `storage: got "2Gi", expected 1Gi, because it has no storage class that lets it grow; ` +
				`set it with: pulumi config set storage 1Gi, or set allowVolumeExpansion on the class if its volumes support it`,
		},
		{
			name: "larger volume, not bound yet", args: PostgresArgs{Storage: "2Gi"}, claim: pending,
			expect: `storage: got "2Gi", expected 1Gi, because the volume can grow only once it is bound; ` +
				`set it with: pulumi config set storage 1Gi, start the server, and then let it grow`,
		},
		{
			name: "smaller volume", args: PostgresArgs{Storage: "512Mi"},
			expect: `storage: got "512Mi", expected at least 1Gi, because a volume cannot shrink; ` +
				`set it with: pulumi config set storage 1Gi`,
		},
		{
			name: "other storage class", args: PostgresArgs{StorageClass: "slow"},
			expect: `storageClass: got "slow", expected fast, because the storage class of the volume that holds the data cannot change; ` +
				`set it with: pulumi config set storageClass fast` + otherStack,
		},
		{
			name: "other access modes", args: PostgresArgs{AccessModes: []string{AccessModeReadWriteMany}},
			expect: `accessModes: got "ReadWriteMany", expected ReadWriteOnce, because the access modes of the volume that holds the data cannot change; ` +
				`set it with: pulumi config set accessModes ReadWriteOnce` + otherStack,
		},
		{
			name: "more access modes", args: PostgresArgs{AccessModes: []string{AccessModeReadWriteOnce, AccessModeReadWriteMany}},
			expect: `accessModes: got "ReadWriteOnce,ReadWriteMany", expected ReadWriteOnce, because the access modes of the volume that holds the data cannot change; ` +
				`set it with: pulumi config set accessModes ReadWriteOnce` + otherStack,
		},
		{
			name: "other user", args: PostgresArgs{User: "clerk"},
			expect: `user: got "clerk", expected codewizard, because the volume was initialized with it; ` +
				`set it with: pulumi config set user codewizard` + otherStack,
		},
		{
			name: "other database", args: PostgresArgs{Database: "shop"},
			expect: `database: got "shop", expected codewizard, because the volume was initialized with it; ` +
				`set it with: pulumi config set database codewizard` + otherStack,
		},
		{name: "other user, nothing initialized yet", args: PostgresArgs{User: "clerk", Database: "shop"}, claim: pending},
		{
			name: "claim that somebody else made", args: PostgresArgs{User: "clerk", Database: "shop"},
			claim: func(claim *corev1.PersistentVolumeClaim) { claim.Annotations = nil },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			claim := boundClaim()
			if test.claim != nil {
				test.claim(claim)
			}
			err := test.args.withDefaults().conflicts(existing{claim: claim, expandable: !test.fixed}).orNil()
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
	args := PostgresArgs{
		Storage: "512Mi", StorageClass: "slow", AccessModes: []string{AccessModeReadWriteMany}, User: "clerk", Database: "shop",
	}
	var settings []string
	for _, conflict := range args.withDefaults().conflicts(existing{claim: boundClaim()}) {
		settings = append(settings, conflict.Setting)
	}
	require.Equal(t, []string{"accessModes", "database", "storage", "storageClass", "user"}, settings)
}

func TestNothingConflictsWithAnEmptyNamespace(t *testing.T) {
	t.Parallel()
	require.Empty(t, PostgresArgs{StorageClass: "slow"}.withDefaults().conflicts(existing{}))
}

func TestLostVolumeIsNotReplacedByAnEmptyOne(t *testing.T) {
	t.Parallel()
	const refusal = `initializeEmptyVolume: got "false", expected true, because this server had data and the volume of claim ` +
		`postgredb-postgres-0 is gone; name a volume that has it with: pulumi config set volumeName, or begin again without the old rows: pulumi config set initializeEmptyVolume true`
	pending := boundClaim()
	pending.Status.Phase = corev1.ClaimPending
	restored := pending.DeepCopy()
	restored.Spec.VolumeName = "pv-1"
	snapshot := pending.DeepCopy()
	snapshot.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: "VolumeSnapshot", Name: "yesterday"}
	for _, test := range []struct {
		name    string
		live    existing
		anew    bool
		refused bool
	}{
		{"first update", existing{}, false, false},
		{"never started", existing{claim: pending}, false, false},
		{"data there", existing{marker: true, claim: boundClaim()}, false, false},
		{"claim deleted", existing{marker: true}, false, true},
		{"claim deleted and made anew", existing{marker: true, claim: pending}, false, true},
		{"claim for an existing volume", existing{marker: true, claim: restored}, false, false},
		{"claim for a snapshot", existing{marker: true, claim: snapshot}, false, false},
		{"claim deleted, begin again on purpose", existing{marker: true}, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := PostgresArgs{InitializeEmptyVolume: test.anew}.withDefaults().conflicts(test.live).orNil()
			if !test.refused {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, "1 setting is invalid, nothing was changed:\n  "+refusal)
		})
	}
}

func TestDataOfAnotherStackIsNotTaken(t *testing.T) {
	t.Parallel()
	claim := boundClaim()
	require.Nil(t, checkOwner(existing{}, "shop", "pulumi-p-dev"))
	require.Nil(t, checkOwner(existing{claim: claim}, "shop", "pulumi-p-dev"), "a claim that says nothing is taken over")
	claim.Annotations[annotationFieldManager] = "pulumi-p-dev"
	require.Nil(t, checkOwner(existing{claim: claim}, "shop", "pulumi-p-dev"))
	require.Equal(t, `namespace: got "shop", expected one that does not hold the data of another stack or component, as this one does (pulumi-p-dev); `+
		`choose another with: pulumi config set namespace, or take the data over with: `+
		`kubectl annotate -n shop pvc postgredb-postgres-0 pulumi.com/patchFieldManager-`,
		checkOwner(existing{claim: claim}, "shop", "pulumi-p-prod").Error())
}

func TestDataDoesNotMoveToAnotherNamespace(t *testing.T) {
	t.Parallel()
	require.Nil(t, checkMove(nil, "shop"), "a first update")
	require.Nil(t, checkMove([]string{"shop"}, "shop"))
	require.Equal(t, `namespace: got "store", expected shop, because the data is there and cannot move to another namespace; `+
		`set it with: pulumi config set namespace shop; for other data use another stack with a namespace of its own`,
		checkMove([]string{"shop"}, "store").Error())
}

func TestNamespacesOfTheLastUpdate(t *testing.T) {
	t.Parallel()
	state := func(namespace string) any {
		return map[string]any{"type": componentType, "outputs": map[string]any{"namespace": namespace, "user": "codewizard"}}
	}
	const project = "urn:pulumi:dev::p::"
	resources := map[string]any{
		project + componentType + "::shop":                           state("shop-data"),
		project + componentType + "::store":                          state("store-data"),
		project + "my:index:App$" + componentType + "::shop":         state("app-data"),
		project + componentType + "$kubernetes:core/v1:Secret::shop": state("not-a-component"),
		project + componentType + "::unfinished":                     map[string]any{"type": componentType},
		"nonsense":                                                   "nonsense",
	}
	require.Equal(t, []string{"app-data", "shop-data"}, namespacesOf(resources, "shop"))
	require.Equal(t, []string{"store-data"}, namespacesOf(resources, "store"))
	require.Empty(t, namespacesOf(resources, "unfinished"))
	require.Empty(t, namespacesOf(nil, "shop"))
	require.Nil(t, checkMove([]string{"app-data", "shop-data"}, "shop-data"))
}

func TestComponentsOfOneStackDoNotShareAFieldManager(t *testing.T) {
	t.Parallel()
	require.Equal(t, "pulumi-p-dev", fieldManager("p", "dev", "postgres"))
	require.Equal(t, "pulumi-p-dev-orders", fieldManager("p", "dev", "orders"))
	long := strings.Repeat("x", 100)
	first, second := fieldManager(long, long, "a"), fieldManager(long, long, "b")
	require.Len(t, first, maxFieldManagerLength)
	require.Len(t, second, maxFieldManagerLength)
	require.NotEqual(t, first, second)
}

func lookUpIn(client kubernetes.Interface, namespace string) (existing, error) {
	return lookUp(context.Background(), clients{client.CoreV1(), client.AppsV1(), client.StorageV1()}, namespace, "")
}

func TestLookUp(t *testing.T) {
	t.Parallel()
	class := func(expand *bool) *storagev1.StorageClass {
		return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, AllowVolumeExpansion: expand}
	}
	elsewhere := boundClaim()
	elsewhere.Namespace = "other"
	for _, test := range []struct {
		name       string
		objects    []runtime.Object
		claim      bool
		expandable bool
	}{
		{"nothing there", nil, false, false},
		{"claim in another namespace", []runtime.Object{elsewhere, class(ptr(true))}, false, false},
		{"claim that can grow", []runtime.Object{boundClaim(), class(ptr(true))}, true, true},
		{"claim that cannot grow", []runtime.Object{boundClaim(), class(ptr(false))}, true, false},
		{"class that does not say", []runtime.Object{boundClaim(), class(nil)}, true, false},
		{"class that is gone", []runtime.Object{boundClaim()}, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			live, err := lookUpIn(fake.NewClientset(test.objects...), "codewizard")
			require.NoError(t, err)
			require.Equal(t, test.claim, live.claim != nil)
			require.Equal(t, test.expandable, live.expandable)
		})
	}
}

func TestLookUpFindsTheMarker(t *testing.T) {
	t.Parallel()
	marker := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "postgres-data-expected", Namespace: "codewizard"}}
	live, err := lookUpIn(fake.NewClientset(marker), "codewizard")
	require.NoError(t, err)
	require.True(t, live.marker, "also when the claim is gone")
	live, err = lookUpIn(fake.NewClientset(marker, boundClaim()), "other")
	require.NoError(t, err)
	require.False(t, live.marker)
}

func TestLookUpThatFailsIsNotAnEmptyNamespace(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(boundClaim())
	client.PrependReactor("get", "persistentvolumeclaims", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("connection refused")
	})
	_, err := lookUpIn(client, "codewizard")
	require.EqualError(t, err, "claim postgredb-postgres-0 in namespace codewizard: connection refused")
}

func TestStorageClassesThatMayNotBeReadAreLeftToTheAPIServer(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(boundClaim())
	client.PrependReactor("get", "storageclasses", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "storageclasses"}, "fast", nil)
	})
	live, err := lookUpIn(client, "codewizard")
	require.NoError(t, err)
	require.True(t, live.expandable)
}
