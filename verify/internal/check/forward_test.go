package check_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"stateful-postgres/verify/internal/check"
	"stateful-postgres/verify/internal/kubernetes"
)

func TestClientsThatWaitForAServerShareWhatIsSeenOfIt(t *testing.T) {
	t.Parallel()
	clients := fake.NewClientset(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "postgres", Namespace: "ns"}})
	subject := check.Subject{
		Cluster: &kubernetes.Cluster{Core: clients.CoreV1(), Apps: clients.AppsV1(), Discovery: clients.DiscoveryV1()},
		Objects: kubernetes.Objects{Namespace: "ns", StatefulSet: "postgres", Service: "postgres", Claim: "postgredb-postgres-0"},
		Via:     kubernetes.ViaPortForward,
		Port:    5432,
	}
	entrance := subject.Entrance()
	defer entrance.Close()

	const asks, clientsAtOnce = 600 * time.Millisecond, 5
	var attempts sync.WaitGroup
	var met [clientsAtOnce][]error
	for client := range met {
		attempts.Go(func() {
			for began := time.Now(); time.Since(began) < asks; time.Sleep(20 * time.Millisecond) {
				_, err := entrance.Open(t.Context())
				met[client] = append(met[client], err)
			}
		})
	}
	attempts.Wait()
	for _, errs := range met {
		require.NotEmpty(t, errs)
		for _, err := range errs {
			require.ErrorContains(t, err, "no pod is ready")
		}
	}

	asked := map[string]int{}
	for _, action := range clients.Actions() {
		asked[action.GetVerb()+" "+action.GetResource().Resource]++
	}
	require.Equal(t, 1, asked["get statefulsets"], "all objects are looked at once, to find the way")
	require.GreaterOrEqual(t, asked["list pods"], 2, "pods are looked for again: a server may be there now")
	require.LessOrEqual(t, asked["list pods"], 4, "one look in 250 ms is for all clients")
}
