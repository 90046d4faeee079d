package e2e

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPodIsWhatTheSettingsSayAndMayDoNothingElse(t *testing.T) {
	t.Parallel()
	f := setup(t, "pod")
	// The component makes the namespace, which the priority class goes with.
	f.up(0)
	priority := f.ownedByNamespace(f.Name)
	f.create(map[string]any{
		"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": priority, "value": 4711,
	})
	for path, value := range map[string]string{
		"resources.requests.cpu":              "50m",
		"resources.requests.memory":           "128Mi",
		"resources.limits.memory":             "512Mi",
		"shmSize":                             "64Mi",
		`podAnnotations["example.com/owner"]`: "shop",
		"priorityClassName":                   f.Name,
		`nodeSelector["kubernetes.io/os"]`:    "linux",
		"tolerations[0].key":                  "example.com/database",
		"tolerations[0].operator":             "Exists",
		"affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight":                      "10",
		"affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey": "kubernetes.io/hostname",
		"imagePullSecrets[0]":         "registry",
		`initScripts["10-table.sql"]`: "create table starts (what text, at timestamptz default clock_timestamp()); insert into starts values ('ten')",
		`initScripts["20-shell.sh"]`:  `psql --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --command="insert into starts values ('twenty')"`,
		`initScripts["30-last.sql"]`:  "insert into starts values ('thirty')",
		// With it, the check of the parameters has to be let in as well.
		"parameters.work_mem": "8MB",
	} {
		f.ok(f.SetPath(f.ctx, path, value))
	}
	output := f.up(1)
	require.NotContains(t, output, "PodSecurity", "not even a warning")
	f.verify(proven)

	var live struct {
		Metadata struct{ Annotations map[string]string }
		Spec     struct {
			Priority         int
			NodeSelector     map[string]string
			Tolerations      []struct{ Key, Operator string }
			Affinity         map[string]any
			ImagePullSecrets []struct{ Name string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(f.kubectl("get", "pod", pod, "--output=json")), &live))
	require.Equal(t, "shop", live.Metadata.Annotations["example.com/owner"])
	require.Equal(t, 4711, live.Spec.Priority)
	require.Equal(t, map[string]string{"kubernetes.io/os": "linux"}, live.Spec.NodeSelector)
	require.Contains(t, live.Spec.Tolerations, struct{ Key, Operator string }{"example.com/database", "Exists"})
	require.Contains(t, live.Spec.Affinity, "podAntiAffinity")
	require.Equal(t, []struct{ Name string }{{"registry"}}, live.Spec.ImagePullSecrets)

	inside := func(command string) string { return f.kubectl("exec", pod, "--", "sh", "-c", command) }
	require.Equal(t, "536870912", inside("cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"))
	require.Equal(t, "65536", inside("df --block-size=1K --output=size /dev/shm | tail -1 | tr -d ' '"))
	require.Equal(t, "ten,twenty,thirty", f.sql("select string_agg(what, ',' order by at) from starts"))

	// What process 1 may do: nothing but be user 999.
	require.Equal(t, "999", inside("id -u"))
	status := inside("cat /proc/1/status")
	for _, line := range []string{
		`Uid:\s999\s999\s999\s999`, `Gid:\s999\s999\s999\s999`, `Seccomp:\s2`, `NoNewPrivs:\s1`,
		`CapInh:\s0+`, `CapPrm:\s0+`, `CapEff:\s0+`, `CapBnd:\s0+`, `CapAmb:\s0+`,
	} {
		require.Regexp(t, "(?m)^"+line+"$", status)
	}
	require.Equal(t, "no", inside("ls /var/run/secrets/kubernetes.io >/dev/null 2>&1 && echo yes || echo no"), "a token of a service account")
	for _, folder := range []string{"/", "/etc", "/usr/bin", "/etc/stateful-postgres"} {
		result := f.Kubectl(f.ctx, "exec", pod, "--", "touch", folder+"/x")
		require.Contains(t, result.Output, "Read-only file system", "%s", result)
	}

	// The namespace would let no pod in that may do more.
	for name, change := range map[string]map[string]any{
		"privileged":               {"privileged": true},
		"allowPrivilegeEscalation": {"allowPrivilegeEscalation": true},
	} {
		manifest, err := json.Marshal(map[string]any{
			"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "intruder"},
			"spec": map[string]any{"containers": []any{map[string]any{
				"name": "intruder", "image": f.Image, "securityContext": change,
			}}},
		})
		require.NoError(t, err)
		refused := f.pipe(manifest, "create", "--dry-run=server")
		require.False(t, refused.OK(), "%s", refused)
		require.Contains(t, refused.Output, `violates PodSecurity "restricted:latest"`)
		require.Contains(t, refused.Output, name)
	}

	f.up(0)
	f.up(1)
	require.Equal(t, "3", f.sql("select count(*) from starts"), "the scripts ran again")
	f.verify(proven)
}
