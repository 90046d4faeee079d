package conflict

import (
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/problem"
	"stateful-postgres/components/settings"
)

// look observes a namespace of a cluster that holds one object.
func look(t *testing.T, object runtime.Object, namespace string) observe.Observation {
	t.Helper()
	client := fake.NewClientset(object)
	seen, err := observe.Cluster(t.Context(), observe.Clients{Core: client.CoreV1(), Apps: client.AppsV1(), Storage: client.StorageV1()},
		observe.Query{Namespace: namespace})
	require.NoError(t, err)
	return seen
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
		name   string
		object runtime.Object
		others string
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
			refused := otherSetUp(settings.Args{Namespace: "codewizard"}, look(t, test.object, "codewizard"))
			if test.others == "" {
				require.Nil(t, refused)
				return
			}
			require.Equal(t, `namespace: got "codewizard", expected one without the objects of another set-up, as this one has: `+test.others+
				`; keep its rows as README.md shows under "Taking over the lab's own YAML", or choose another with: pulumi config set namespace`, refused.Line(problem.CommandLine))
			require.Nil(t, otherSetUp(settings.Args{Namespace: "shop"}, look(t, test.object, "shop")))
		})
	}
}

func TestRefusalsPointAtASectionOfTheReadme(t *testing.T) {
	t.Parallel()
	requireSection(t, takeoverSection)
}

func TestNamespaceHasToBeWhatCreateNamespaceSays(t *testing.T) {
	t.Parallel()
	const manager = "pulumi-p-dev"
	yes, no := true, false
	namespace := func(annotations map[string]string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}}
	}
	absent := observe.Observation{}
	others := observe.Observation{NamespaceExists: true, Namespace: namespace(nil)}
	own := observe.Observation{NamespaceExists: true, Namespace: namespace(map[string]string{"pulumi.com/patchFieldManager": manager})}
	unmarked := observe.Observation{NamespaceExists: true, Namespace: namespace(nil), NamespaceInState: true}
	hidden := observe.Observation{NamespaceHidden: true}
	for _, test := range []struct {
		name   string
		create *bool
		seen   observe.Observation
		want   string
	}{
		{"absent", nil, absent, ""}, {"absent, create", &yes, absent, ""},
		{"absent, do not create", &no, absent, `createNamespace: got "false", expected a namespace shop that exists; ` +
			`make it with: kubectl create namespace shop, or remove it with: pulumi config rm createNamespace`},
		{"somebody's", nil, others, ""}, {"somebody's, do not create", &no, others, ""},
		{"somebody's, create", &yes, others, `createNamespace: got "true", expected nothing or false, because namespace shop is there and the component did not make it; ` +
			`remove it with: pulumi config rm createNamespace, or choose another namespace with: pulumi config set namespace`},
		{"own", nil, own, ""}, {"own, create", &yes, own, ""},
		{"own, do not create", &no, own, `createNamespace: got "false", expected nothing or true, because the component made namespace shop; remove it with: pulumi config rm createNamespace`},
		{"own by the state, do not create", &no, unmarked, `createNamespace: got "false", expected nothing or true, because the component made namespace shop; remove it with: pulumi config rm createNamespace`},
		{"hidden, do not create", &no, hidden, ""},
		{"no cluster, do not create", &no, observe.Observation{NoCluster: true}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			found := createNamespace(settings.Args{Namespace: "shop", CreateNamespace: test.create}, test.seen, manager)
			if test.want == "" {
				require.Nil(t, found)
				return
			}
			require.Equal(t, test.want, found.Line(problem.CommandLine))
		})
	}
}
