package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
	"stateful-postgres/internal/faults"
	"stateful-postgres/internal/stack"
)

// Exit codes of verify.
const (
	proven       = 0
	violated     = 1
	couldNotTell = 2
	usage        = 64
	deadline     = 124
	// interruptedCode is after Ctrl-C.
	interruptedCode = 130
)

// pod is the StatefulSet's only one.
var pod = contract.PodName(0)

// claimName is the claim of that pod.
const claimName = "postgredb-postgres-0"

// pollInterval is between two looks at something that is waited for.
const pollInterval = 200 * time.Millisecond

// fixture is a stack of a test's own.
type fixture struct {
	*stack.Stack
	t   *testing.T
	ctx context.Context
}

// setup makes an empty stack that is removed with the test. What was in its
// namespace is shown when the test failed.
func setup(t *testing.T, subject string) *fixture {
	t.Helper()
	return setupFor(t, subject, testTimeout)
}

// setupFor is setup for a test that takes its own time.
func setupFor(t *testing.T, subject string, timeout time.Duration) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(interrupted, timeout)
	t.Cleanup(cancel)
	s, err := workspace.NewStack(ctx, subject)
	require.NoError(t, err)
	f := &fixture{Stack: s, t: t, ctx: ctx}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanTimeout)
		defer cancel()
		if t.Failed() {
			for _, arguments := range [][]string{
				{"get", "all,pvc,cm,secret", "--output=wide"},
				{"describe", "pod"},
				{"logs", "--selector=" + contract.LabelName + "=" + contract.StatefulSet, "--all-containers", "--prefix", "--tail=300"},
				{"get", "events", "--sort-by=.lastTimestamp"},
			} {
				t.Log(s.Kubectl(ctx, arguments...))
			}
		}
		if err := s.Remove(ctx); err != nil {
			t.Errorf("removing stack %s: %v", s.Name, err)
		}
	})
	return f
}

// ok requires that a command ended with 0, and returns what it printed.
func (f *fixture) ok(result stack.Result) string {
	f.t.Helper()
	require.NoError(f.t, result.Err())
	return result.Output
}

// up sets the number of servers and runs `pulumi up`.
func (f *fixture) up(replicas int) string {
	f.t.Helper()
	f.ok(f.Set(f.ctx, "replicas", fmt.Sprint(replicas)))
	return f.ok(f.Up(f.ctx))
}

// verify runs verify and requires its exit code.
func (f *fixture) verify(code int, flags ...string) string {
	f.t.Helper()
	result := f.Check(f.ctx, flags...)
	require.Equal(f.t, code, result.ExitCode, "%s", result)
	return result.Output
}

// kubectl runs kubectl in the stack's namespace and returns its standard output.
func (f *fixture) kubectl(arguments ...string) string {
	f.t.Helper()
	result := f.Kubectl(f.ctx, arguments...)
	require.NoError(f.t, result.Err())
	return strings.TrimSpace(result.Stdout)
}

// sql runs a statement inside the pod and returns its rows, columns separated
// by a bar.
func (f *fixture) sql(statement string) string {
	f.t.Helper()
	result := f.psql(pod, statement)
	require.NoError(f.t, result.Err())
	return strings.TrimSpace(result.Stdout)
}

// psql runs a statement inside a pod.
func (f *fixture) psql(pod, statement string) stack.Result {
	return f.Kubectl(f.ctx, "exec", pod, "--", "sh", "-c", faults.Psql, "psql", statement)
}

// needsNodes are the names of the cluster's nodes. With fewer than so many the test
// is left out.
func (f *fixture) needsNodes(least int) []string {
	f.t.Helper()
	nodes := strings.Fields(f.kubectl("get", "nodes", "--output=jsonpath={.items[*].metadata.name}"))
	if len(nodes) < least {
		f.t.Skipf("the cluster has %d nodes, and this takes %d: make cluster NODES=%d", len(nodes), least, least)
	}
	return nodes
}

// outputs are the stack's outputs.
func (f *fixture) outputs() map[string]any {
	f.t.Helper()
	outputs, err := f.Outputs(f.ctx)
	require.NoError(f.t, err)
	return outputs
}

// eventually waits until look says that it is done; what it last saw is shown
// when that does not happen.
func (f *fixture) eventually(what string, timeout time.Duration, look func() (seen string, done bool)) {
	f.t.Helper()
	require.NoError(f.t, faults.UntilEvery(f.ctx, pollInterval, what, timeout, func(context.Context) (string, bool) { return look() }))
}

// object is what tells a Kubernetes object from one that was made anew, and
// from itself after a change.
type object struct {
	UID             string
	ResourceVersion string
}

// objects are the objects of the stack by kind and name. The resource version
// is left out where the cluster itself changes an object now and then.
func (f *fixture) objects() map[string]object {
	f.t.Helper()
	var list struct {
		Items []struct {
			Kind     string
			Metadata struct{ Name, UID, ResourceVersion string }
		}
	}
	found := map[string]object{}
	for _, arguments := range [][]string{
		{"get", "configmap,secret,service,pvc,statefulset,pod,job,networkpolicy", "--output=json"},
		{"get", "namespace", "--field-selector=metadata.name=" + f.Namespace, "--output=json"},
	} {
		require.NoError(f.t, json.Unmarshal([]byte(f.kubectl(arguments...)), &list))
		for _, item := range list.Items {
			seen := object{UID: item.Metadata.UID, ResourceVersion: item.Metadata.ResourceVersion}
			if item.Kind == "Pod" {
				seen.ResourceVersion = ""
			}
			found[item.Kind+"/"+item.Metadata.Name] = seen
		}
	}
	return found
}

// server is what tells a server that was left alone from one that was
// restarted.
type server struct {
	Pod, Container string
	Restarts       int
	// Started is when the postmaster did.
	Started string
}

// server is the running one.
func (f *fixture) server() server {
	f.t.Helper()
	var live struct {
		Metadata struct{ UID string }
		Status   struct {
			ContainerStatuses []struct {
				ContainerID  string
				RestartCount int
			}
		}
	}
	require.NoError(f.t, json.Unmarshal([]byte(f.kubectl("get", "pod", pod, "--output=json")), &live))
	require.Len(f.t, live.Status.ContainerStatuses, 1)
	return server{
		Pod:       live.Metadata.UID,
		Container: live.Status.ContainerStatuses[0].ContainerID,
		Restarts:  live.Status.ContainerStatuses[0].RestartCount,
		Started:   f.sql("select pg_postmaster_start_time()"),
	}
}

// generation counts the changes of what the StatefulSet asks for.
func (f *fixture) generation() int {
	f.t.Helper()
	generation, err := strconv.Atoi(f.kubectl("get", "statefulset", contract.StatefulSet, "--output=jsonpath={.metadata.generation}"))
	require.NoError(f.t, err)
	return generation
}

// createNamespace makes the stack's namespace before its first update, as somebody
// else would: the component does not make it its own.
func (f *fixture) createNamespace() {
	f.t.Helper()
	f.ok(f.Run(f.ctx, "kubectl", "create", "namespace", f.Namespace))
}

// create makes an object, in the stack's namespace if it is in one.
func (f *fixture) create(object map[string]any) {
	f.t.Helper()
	f.give(object, "create")
}

// give runs kubectl with an object as its file.
func (f *fixture) give(object map[string]any, arguments ...string) {
	f.t.Helper()
	manifest, err := json.Marshal(object)
	require.NoError(f.t, err)
	f.ok(f.pipe(manifest, arguments...))
}

// pipe runs kubectl with a manifest on its standard input.
func (f *fixture) pipe(manifest []byte, arguments ...string) stack.Result {
	return f.KubectlWithInput(f.ctx, bytes.NewReader(manifest), append([]string{"--filename=-"}, arguments...)...)
}

// ownedByNamespace is the metadata of an object that is in no namespace and
// goes with the stack's.
func (f *fixture) ownedByNamespace(name string) map[string]any {
	f.t.Helper()
	return map[string]any{
		"name": name,
		"ownerReferences": []any{map[string]any{
			"apiVersion": "v1", "kind": "Namespace", "name": f.Namespace,
			"uid": f.kubectl("get", "namespace", f.Namespace, "--output=jsonpath={.metadata.uid}"),
		}},
	}
}

// createStorageClass makes a storage class like the cluster's default one.
func (f *fixture) createStorageClass(name string, expandable bool) {
	f.t.Helper()
	var list struct {
		Items []struct {
			Metadata          struct{ Annotations map[string]string }
			Provisioner       string
			Parameters        map[string]string
			VolumeBindingMode string
		}
	}
	require.NoError(f.t, json.Unmarshal([]byte(f.kubectl("get", "storageclass", "--output=json")), &list))
	for _, class := range list.Items {
		if class.Metadata.Annotations["storageclass.kubernetes.io/is-default-class"] != "true" {
			continue
		}
		f.create(map[string]any{
			"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": f.ownedByNamespace(name),
			"provisioner": class.Provisioner, "parameters": class.Parameters,
			"volumeBindingMode": class.VolumeBindingMode, "allowVolumeExpansion": expandable,
		})
		return
	}
	require.Fail(f.t, "the cluster has no default storage class")
}
