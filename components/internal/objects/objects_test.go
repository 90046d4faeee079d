package objects

import (
	"encoding/json"
	"strings"
	"testing"

	pulumicorev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/scripts"
	"stateful-postgres/components/settings"
)

func ptr[T any](value T) *T { return &value }

func TestEveryScriptIsEmbedded(t *testing.T) {
	t.Parallel()
	for _, path := range append(scripts.OfTheServer(), scripts.Check) {
		require.NotEmpty(t, scripts.Text(path), path)
	}
}

func TestComponentsOfOneStackDoNotShareAFieldManager(t *testing.T) {
	t.Parallel()
	require.Equal(t, "pulumi-p-dev", FieldManager("p", "dev", "postgres"))
	require.Equal(t, "pulumi-p-dev-orders", FieldManager("p", "dev", "orders"))
	long := strings.Repeat("x", 100)
	first, second := FieldManager(long, long, "a"), FieldManager(long, long, "b")
	require.Len(t, first, maxFieldManagerLength)
	require.Len(t, second, maxFieldManagerLength)
	require.NotEqual(t, first, second)
}

func TestClaimAsksForWhatItHas(t *testing.T) {
	t.Parallel()
	volumeOf := func(class string) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{StorageClassName: class}}
	}
	bound := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: ptr("fast"), VolumeName: "pv-9"}}
	for _, test := range []struct {
		name          string
		args          settings.Args
		live          observe.Observation
		class, volume *string
	}{
		{name: "left to the cluster"},
		{name: "settings", args: settings.Args{StorageClass: "fast", VolumeName: "pv-1"}, class: ptr("fast"), volume: ptr("pv-1")},
		{name: "class of the volume", args: settings.Args{VolumeName: "pv-1"}, live: observe.Observation{Volume: volumeOf("manual")}, class: ptr("manual"), volume: ptr("pv-1")},
		{name: "volume without a class", args: settings.Args{VolumeName: "pv-1"}, live: observe.Observation{Volume: volumeOf("")}, class: ptr(""), volume: ptr("pv-1")},
		{name: "claim that is taken back", live: observe.Observation{Claim: bound}, class: ptr("fast"), volume: ptr("pv-9")},
	} {
		class, volume := chosen(Description{Settings: test.args, Observed: test.live})
		require.Equal(t, test.class, class, test.name)
		require.Equal(t, test.volume, volume, test.name)
	}
}

func TestNamespaceOfSomebodyElseIsLeftAlone(t *testing.T) {
	t.Parallel()
	const manager = "pulumi-p-dev"
	yes, no := true, false
	namespace := func(manager string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"pulumi.com/patchFieldManager": manager}}}
	}
	for _, test := range []struct {
		name     string
		create   *bool
		seen     observe.Observation
		declared bool
	}{
		{"absent", nil, observe.Observation{}, true},
		{"no cluster", nil, observe.Observation{NoCluster: true}, true},
		{"no cluster, do not create", &no, observe.Observation{NoCluster: true}, false},
		{"own", nil, observe.Observation{NamespaceExists: true, Namespace: namespace(manager)}, true},
		{"own, its annotation removed by hand", nil, observe.Observation{NamespaceExists: true, Namespace: namespace(""), NamespaceInState: true}, true},
		{"somebody's", nil, observe.Observation{NamespaceExists: true, Namespace: namespace("")}, false},
		{"another stack's", nil, observe.Observation{NamespaceExists: true, Namespace: namespace("pulumi-p-other")}, false},
		{"hidden, but there", nil, observe.Observation{NamespaceExists: true, NamespaceHidden: true}, false},
		{"hidden, and wanted", &yes, observe.Observation{NamespaceHidden: true}, true},
	} {
		args := settings.Args{Namespace: "shop", CreateNamespace: test.create}.WithDefaults()
		object := Namespace(Description{Settings: args, Observed: test.seen, FieldManager: manager})
		require.Equal(t, test.declared, object.Args != nil, test.name)
	}
}

func TestOnlyAClaimWithNothingOnItIsReplaced(t *testing.T) {
	t.Parallel()
	// claim is one that waits for a volume of class fats, which is not there.
	claim := func(change func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
		made := &corev1.PersistentVolumeClaim{
			Spec: corev1.PersistentVolumeClaimSpec{
				StorageClassName: ptr("fats"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			},
			Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
		}
		if change != nil {
			change(made)
		}
		return made
	}
	for _, test := range []struct {
		name     string
		args     settings.Args
		live     observe.Observation
		replaced bool
	}{
		{"as it is", settings.Args{StorageClass: "fats"}, observe.Observation{Claim: claim(nil)}, false},
		{"same size, written otherwise", settings.Args{StorageClass: "fats", Storage: "1024Mi"}, observe.Observation{Claim: claim(nil)}, false},
		{"class corrected", settings.Args{StorageClass: "fast"}, observe.Observation{Claim: claim(nil)}, true},
		{"class taken away", settings.Args{}, observe.Observation{Claim: claim(nil)}, true},
		{"default class, which the cluster chose", settings.Args{}, observe.Observation{Claim: claim(nil), StorageClass: &storagev1.StorageClass{}}, false},
		{"class that may not be read", settings.Args{}, observe.Observation{Claim: claim(nil), StorageClassHidden: true}, false},
		{"other size", settings.Args{StorageClass: "fats", Storage: "2Gi"}, observe.Observation{Claim: claim(nil)}, true},
		{"other access modes", settings.Args{StorageClass: "fats", AccessModes: []string{"ReadWriteMany"}}, observe.Observation{Claim: claim(nil)}, true},
		{"a volume by its name", settings.Args{StorageClass: "fats", VolumeName: "pv-1"}, observe.Observation{Claim: claim(nil)}, true},
		{"no claim", settings.Args{StorageClass: "fast"}, observe.Observation{}, false},
		{"a server was ready", settings.Args{StorageClass: "fast"}, observe.Observation{Claim: claim(nil), Marker: &corev1.ConfigMap{}}, false},
		{"bound", settings.Args{StorageClass: "fast"}, observe.Observation{Claim: claim(func(claim *corev1.PersistentVolumeClaim) {
			claim.Status.Phase, claim.Spec.VolumeName = corev1.ClaimBound, "pv-1"
		})}, false},
		{"about to be bound", settings.Args{StorageClass: "fast"}, observe.Observation{Claim: claim(func(claim *corev1.PersistentVolumeClaim) {
			claim.Spec.VolumeName = "pv-1"
		})}, false},
		{"its volume was lost", settings.Args{StorageClass: "fast"}, observe.Observation{Claim: claim(func(claim *corev1.PersistentVolumeClaim) {
			claim.Status.Phase = corev1.ClaimLost
		})}, false},
		{"being deleted", settings.Args{StorageClass: "fast"}, observe.Observation{Claim: claim(func(claim *corev1.PersistentVolumeClaim) {
			claim.DeletionTimestamp = &metav1.Time{}
		})}, false},
	} {
		require.Equal(t, test.replaced, ReplacesClaim(Description{Settings: test.args.WithDefaults(), Observed: test.live}), test.name)
	}
}

func TestPreviewShowsTheClaimThatIsStillThere(t *testing.T) {
	t.Parallel()
	d := Description{
		Settings: settings.Args{StorageClass: "fast", Storage: "2Gi"}.WithDefaults(),
		Observed: observe.Observation{Claim: &corev1.PersistentVolumeClaim{
			Spec: corev1.PersistentVolumeClaimSpec{
				StorageClassName: ptr("fats"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
				Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			},
			Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
		}},
	}
	asked := func() []any {
		spec := Claim(d, 0).Args.Spec.(pulumicorev1.PersistentVolumeClaimSpecArgs)
		size := spec.Resources.(pulumicorev1.VolumeResourceRequirementsArgs).Requests.(pulumi.StringMap)["storage"]
		class, _ := chosen(d)
		return []any{*class, size, spec.AccessModes}
	}
	require.Equal(t, []any{"fast", pulumi.String("2Gi"), pulumi.ToStringArray([]string{"ReadWriteOnce"})}, asked())
	d.Preview = true
	require.Equal(t, []any{"fats", pulumi.String("1Gi"), pulumi.ToStringArray([]string{"ReadWriteMany"})}, asked(),
		"the API server would take no other as long as it is there")
}

func TestLogThatMembersKeepFitsTheirVolume(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		storage    string
		parameters map[string]string
		kept, slot string
	}{
		{storage: "128Mi", kept: "16MB", slot: "42MB"},
		{storage: "512Mi", kept: "64MB", slot: "170MB"},
		{storage: "1Gi", kept: "128MB", slot: "341MB"},
		{storage: "100Gi", kept: "128MB", slot: "34133MB"},
		{storage: "1Gi", parameters: map[string]string{"WAL_keep_size": "1GB", "max_slot_wal_keep_size": "2GB"}, kept: "1GB", slot: "2GB"},
	} {
		args := settings.Args{HighAvailability: true, Storage: test.storage, Parameters: test.parameters}.WithDefaults()
		var config struct {
			PostgreSQL struct {
				Parameters map[string]string
			}
		}
		require.NoError(t, json.Unmarshal([]byte(dynamicConfig(args)), &config))
		require.Equal(t, test.kept, config.PostgreSQL.Parameters["wal_keep_size"], test.storage)
		require.Equal(t, test.slot, config.PostgreSQL.Parameters["max_slot_wal_keep_size"], test.storage)
	}
}
