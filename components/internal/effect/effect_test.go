package effect

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"stateful-postgres/internal/contract"
)

// member is the pod of a server that says what is in effect.
func member(ordinal int, role, password, parameters string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: contract.PodName(ordinal), Namespace: "shop", Labels: contract.MembersLabels()}}
	pod.Labels[contract.LabelRole] = role
	pod.Annotations = map[string]string{contract.AnnotationPassword: password, contract.AnnotationParameters: parameters}
	return pod
}

var wanted = Wanted{Members: 2, Password: "new", Parameters: "max_connections=60"}

func TestWhatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	primary, replica := member(0, contract.RolePrimary, "new", "max_connections=60"), member(1, contract.RoleReplica, "", "max_connections=60")
	leaving := primary.DeepCopy()
	leaving.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	for name, test := range map[string]struct {
		pods []corev1.Pod
		want []string
	}{
		"nothing":           {[]corev1.Pod{*primary, *replica}, nil},
		"a member":          {[]corev1.Pod{*primary}, []string{"postgres-1 is not there"}},
		"a primary":         {[]corev1.Pod{*leaving, *replica}, []string{"no server takes the writes"}},
		"the password":      {[]corev1.Pod{*member(0, contract.RolePrimary, "old", "max_connections=60"), *replica}, []string{"postgres-0 does not have the password of secret postgres-credentials"}},
		"parameters of one": {[]corev1.Pod{*primary, *member(1, contract.RoleReplica, "", "max_connections=90")}, []string{"postgres-1 runs with other parameters than max_connections=60"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, wanted.missing(test.pods))
		})
	}
}

func TestKubeletsAreMadeToLook(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(member(0, contract.RolePrimary, "old", "max_connections=60"), member(1, contract.RoleReplica, "", "max_connections=60"))
	client.PrependReactor("patch", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		patch := action.(clienttesting.PatchAction)
		require.Contains(t, string(patch.GetPatch()), contract.AnnotationLooked)
		pod := member(0, contract.RolePrimary, "new", "max_connections=60")
		return true, pod, client.Tracker().Update(corev1.SchemeGroupVersion.WithResource("pods"), pod, "shop")
	})
	require.NoError(t, Wait(context.Background(), client.CoreV1().Pods("shop"), wanted, func(text string) { t.Error(text) }))
}

func TestUpdateDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	err := Wait(ctx, fake.NewClientset().CoreV1().Pods("shop"), wanted, func(string) {})
	require.ErrorContains(t, err, "no server takes the writes; postgres-0 is not there; postgres-1 is not there")
}
