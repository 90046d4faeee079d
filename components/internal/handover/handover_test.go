package handover

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"stateful-postgres/internal/contract"
)

const behaviour = `{"synchronous_mode":true,"synchronous_node_count":1,"ttl":20}`

func configMap(name string, annotations map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", Annotations: annotations}}
}

// members are the ConfigMaps of servers, and a stand-in for Patroni: react is told
// of every change, and may change more.
func members(t *testing.T, primary, standbys string, react func(client *fake.Clientset, changed *corev1.ConfigMap)) *fake.Clientset {
	t.Helper()
	client := fake.NewClientset(
		configMap(contract.MembersLeader, map[string]string{"leader": primary}),
		configMap(contract.MembersSync, map[string]string{"leader": primary, "sync_standby": standbys}),
		configMap(contract.MembersConfig, map[string]string{"config": behaviour}),
		configMap(contract.MembersFailover, nil))
	client.PrependReactor("patch", "configmaps", func(action clienttesting.Action) (bool, runtime.Object, error) {
		patch := action.(clienttesting.PatchAction)
		var change struct {
			Metadata struct{ Annotations map[string]string }
		}
		require.NoError(t, json.Unmarshal(patch.GetPatch(), &change))
		changed := configMap(patch.GetName(), change.Metadata.Annotations)
		set(t, client, changed)
		if react != nil {
			react(client, changed)
		}
		return true, changed, nil
	})
	return client
}

func set(t *testing.T, client *fake.Clientset, object *corev1.ConfigMap) {
	t.Helper()
	require.NoError(t, client.Tracker().Update(corev1.SchemeGroupVersion.WithResource("configmaps"), object, "shop"))
}

func changes(client *fake.Clientset) (names []string) {
	for _, action := range client.Actions() {
		if patch, is := action.(clienttesting.PatchAction); is {
			names = append(names, patch.GetName())
		}
	}
	return names
}

func TestServerThatHasEverythingIsAsked(t *testing.T) {
	t.Parallel()
	client := members(t, "postgres-2", "postgres-0,postgres-1", func(client *fake.Clientset, changed *corev1.ConfigMap) {
		if changed.Name == contract.MembersFailover {
			require.Equal(t, map[string]string{"leader": "postgres-2", "member": "postgres-0"}, changed.Annotations)
			set(t, client, configMap(contract.MembersLeader, map[string]string{"leader": "postgres-0"}))
			set(t, client, configMap(contract.MembersSync, map[string]string{"leader": "postgres-0"}))
		}
	})
	require.NoError(t, ToFirst(context.Background(), client.CoreV1().ConfigMaps("shop"), 3))
	require.Equal(t, []string{contract.MembersFailover}, changes(client))
}

func TestServerThatLacksWritesGetsThemFirst(t *testing.T) {
	t.Parallel()
	client := members(t, "postgres-2", "postgres-1", func(client *fake.Clientset, changed *corev1.ConfigMap) {
		switch {
		case changed.Name == contract.MembersConfig && changed.Annotations["config"] != behaviour:
			require.JSONEq(t, `{"synchronous_mode":true,"synchronous_node_count":2,"ttl":20}`, changed.Annotations["config"])
			set(t, client, configMap(contract.MembersSync, map[string]string{"leader": "postgres-2", "sync_standby": "postgres-0,postgres-1"}))
		case changed.Name == contract.MembersFailover:
			set(t, client, configMap(contract.MembersLeader, map[string]string{"leader": "postgres-0"}))
			set(t, client, configMap(contract.MembersSync, map[string]string{"leader": "postgres-0"}))
		}
	})
	require.NoError(t, ToFirst(context.Background(), client.CoreV1().ConfigMaps("shop"), 3))
	require.Equal(t, []string{contract.MembersConfig, contract.MembersFailover, contract.MembersConfig}, changes(client))
	config, err := client.CoreV1().ConfigMaps("shop").Get(context.Background(), contract.MembersConfig, metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, behaviour, config.Annotations["config"], "as it was")
}

func TestFirstServerIsNotAsked(t *testing.T) {
	t.Parallel()
	client := members(t, "postgres-0", "postgres-1", nil)
	require.NoError(t, ToFirst(context.Background(), client.CoreV1().ConfigMaps("shop"), 2))
	require.Empty(t, changes(client))
}

func TestServerThatDoesNotTakeOverIsNamed(t *testing.T) {
	t.Parallel()
	client := members(t, "postgres-1", "", nil)
	ctx, cancel := context.WithTimeout(context.Background(), 4*interval)
	defer cancel()
	err := ToFirst(ctx, client.CoreV1().ConfigMaps("shop"), 2)
	require.EqualError(t, err, "postgres-0 does not take the writes after 1m30s, so no server was stopped; "+
		"last seen: postgres-1 takes the writes, and postgres-0 does not have all of them yet")
	require.Equal(t, []string{contract.MembersConfig, contract.MembersConfig}, changes(client), "changed, and put back")
}
