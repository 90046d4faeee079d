package components

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// stack is a program that ran against a recording engine.
type stack struct {
	mu        sync.Mutex
	resources map[string]pulumi.MockResourceArgs
	outputs   map[string]any
	secrets   []string
}

func (s *stack) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resources[args.TypeToken+"/"+args.Name] = args
	outputs := args.Inputs.Copy()
	if args.TypeToken == "kubernetes:core/v1:Secret" {
		// What the engine stores instead of the key that this run generated.
		data := plain(args.Inputs["data"]).(map[string]any)
		data[contract.DigestKey] = "a2V5"
		outputs["data"] = resource.MakeSecret(resource.NewPropertyValue(data))
	}
	return args.Name, outputs, nil
}

func (s *stack) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return resource.PropertyMap{}, nil
}

// plain is a property value as Go values, secrets opened.
func plain(value resource.PropertyValue) any {
	return value.MapRepl(nil, func(value resource.PropertyValue) (any, bool) {
		if value.IsSecret() {
			return plain(value.SecretValue().Element), true
		}
		return nil, false
	})
}

// setup runs a program that declares one component, and returns what it did.
func setup(t *testing.T, args *PostgresArgs, config map[string]string) *stack {
	t.Helper()
	s := &stack{resources: map[string]pulumi.MockResourceArgs{}, outputs: map[string]any{}}
	var resolved sync.WaitGroup
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		postgres, err := NewPostgres(ctx, "postgres", args)
		if err != nil {
			return err
		}
		for name, value := range postgres.Outputs() {
			output := pulumi.ToOutput(value)
			resolved.Add(1)
			pulumi.All(output).ApplyT(func(all []any) any {
				defer resolved.Done()
				s.mu.Lock()
				defer s.mu.Unlock()
				s.outputs[name] = all[0]
				if pulumi.IsSecret(output) {
					s.secrets = append(s.secrets, name)
				}
				return nil
			})
		}
		return nil
	}, pulumi.WithMocks("project", "stack", s), func(info *pulumi.RunInfo) { info.Config = config })
	require.NoError(t, err)
	resolved.Wait()
	slices.Sort(s.secrets)
	return s
}

const (
	namespaceKey = "kubernetes:core/v1:Namespace/postgres"
	configKey    = "kubernetes:core/v1:ConfigMap/postgres"
	secretKey    = "kubernetes:core/v1:Secret/postgres"
	serviceKey   = "kubernetes:core/v1:Service/postgres"
	headlessKey  = "kubernetes:core/v1:Service/postgres-headless"
	accountKey   = "kubernetes:core/v1:ServiceAccount/postgres"
	claimKey     = "kubernetes:core/v1:PersistentVolumeClaim/postgres"
	setKey       = "kubernetes:apps/v1:StatefulSet/postgres"
	checkKey     = "kubernetes:batch/v1:Job/postgres-check"
	providerKey  = "pulumi:providers:kubernetes/postgres"
)

// input is one input of a resource; a step is a property or an index.
func (s *stack) input(t *testing.T, key string, path ...string) any {
	t.Helper()
	require.Contains(t, s.resources, key)
	value := plain(resource.NewProperty(s.resources[key].Inputs))
	for _, step := range path {
		switch holder := value.(type) {
		case map[string]any:
			value = holder[step]
		case []any:
			index, err := strconv.Atoi(step)
			require.NoError(t, err)
			require.Less(t, index, len(holder))
			value = holder[index]
		default:
			return nil
		}
	}
	return value
}

func (s *stack) container(t *testing.T, path ...string) any {
	t.Helper()
	return s.input(t, setKey, append([]string{"spec", "template", "spec", "containers", "0"}, path...)...)
}

func ptr[T any](value T) *T { return &value }

func TestDeclaresEveryObjectUnderAFixedName(t *testing.T) {
	t.Parallel()
	s := setup(t, &PostgresArgs{Namespace: "shop"}, nil)
	for key, name := range map[string]string{
		namespaceKey: "shop",
		configKey:    "postgres-config",
		secretKey:    "postgres-credentials",
		serviceKey:   "postgres",
		headlessKey:  "postgres-headless",
		accountKey:   "postgres",
		claimKey:     "postgredb-postgres-0",
		setKey:       "postgres",
	} {
		require.Equal(t, name, s.input(t, key, "metadata", "name"), key)
		require.Equal(t, "postgres", s.input(t, key, "metadata", "labels", "app.kubernetes.io/name"), key)
		require.Equal(t, "postgres", s.input(t, key, "metadata", "labels", "app.kubernetes.io/instance"), key)
		require.Equal(t, "pulumi", s.input(t, key, "metadata", "labels", "app.kubernetes.io/managed-by"), key)
		require.Equal(t, "pulumi-project-stack", s.input(t, key, "metadata", "annotations", contract.AnnotationFieldManager), key)
		if key != namespaceKey {
			require.Equal(t, "shop", s.input(t, key, "metadata", "namespace"), key)
		}
		require.Equal(t, s.resources[namespaceKey].Provider, s.resources[key].Provider, key)
		require.NotEmpty(t, s.resources[key].Provider, key)
	}
}

func TestExportsWhatAClientNeeds(t *testing.T) {
	t.Parallel()
	s := setup(t, &PostgresArgs{
		Password: pulumi.ToSecret(pulumi.String("correct horse")).(pulumi.StringOutput),
		NodePort: 30432,
	}, map[string]string{"kubernetes:context": "elsewhere", "kubernetes:cluster": "there", "kubernetes:kubeconfig": "apiVersion: v1"})
	require.Equal(t, map[string]any{
		"namespace": "codewizard", "statefulSet": "postgres", "service": "postgres",
		"headlessService": "postgres-headless", "claim": "postgredb-postgres-0", "configMap": "postgres-config",
		"secret": "postgres-credentials", "database": "codewizard", "user": "codewizard",
		"password": "correct horse", "replicas": 1, "serviceType": "NodePort", "port": 5432, "nodePort": 30432,
		"tls": false, "requireTls": false, "caCertificate": "", "tlsServerName": "",
		"context": "elsewhere", "cluster": "there", "kubeconfig": "apiVersion: v1", "dataExpected": true, "clusterUid": "",
		"highAvailability": false, "replicasService": "", "connectionUri": "postgresql://codewizard@postgres.codewizard.svc:5432/codewizard",
	}, s.outputs)
	require.Equal(t, []string{"kubeconfig", "password"}, s.secrets)
}

func TestDataOutlivesADestroy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		deleteData bool
	}{
		{"kept by default", false},
		{"deleted on request", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := setup(t, &PostgresArgs{DeleteData: test.deleteData}, nil)
			for _, key := range []string{namespaceKey, secretKey, claimKey} {
				require.Equal(t, !test.deleteData, s.resources[key].RegisterRPC.GetRetainOnDelete(), key)
			}
			for _, key := range []string{configKey, serviceKey, headlessKey, setKey} {
				require.False(t, s.resources[key].RegisterRPC.GetRetainOnDelete(), key)
			}
		})
	}
}

func TestDataIsExpectedOnceAServerWasReady(t *testing.T) {
	t.Parallel()
	const key = "kubernetes:core/v1:ConfigMap/postgres-data-expected"
	s := setup(t, nil, nil)
	require.Equal(t, "postgres-data-expected", s.input(t, key, "metadata", "name"))
	require.True(t, s.resources[key].RegisterRPC.GetRetainOnDelete(), "the data outlives the stack, and so does the marker")
	require.True(t, slices.ContainsFunc(s.resources[key].RegisterRPC.GetDependencies(), func(urn string) bool {
		return strings.Contains(urn, "apps/v1:StatefulSet")
	}), "made when the server is ready")
	require.False(t, setup(t, &PostgresArgs{DeleteData: true}, nil).resources[key].RegisterRPC.GetRetainOnDelete())

	require.NotContains(t, setup(t, &PostgresArgs{Replicas: ptr(0)}, nil).resources, key, "no server was ever started")
	require.NotContains(t, setup(t, nil, map[string]string{"kubernetes:renderYamlToDirectory": "x"}).resources, key)

	require.Equal(t, contract.MarkerPath, s.env(t)["DATA_EXPECTED"])
	require.NotContains(t, s.env(t), "INITIALIZE_EMPTY_VOLUME")
	require.Equal(t, "true", setup(t, &PostgresArgs{InitializeEmptyVolume: true}, nil).env(t)["INITIALIZE_EMPTY_VOLUME"])
}

func TestPasswordIsNowhereButInTheSecret(t *testing.T) {
	t.Parallel()
	const password = "hunter2-and-more"
	s := setup(t, &PostgresArgs{Password: pulumi.ToSecret(pulumi.String(password)).(pulumi.StringOutput)}, nil)
	for key, args := range s.resources {
		text, err := json.Marshal(plain(resource.NewProperty(args.Inputs)))
		require.NoError(t, err)
		require.NotContains(t, string(text), password, key)
		require.Equal(t, key == secretKey, strings.Contains(string(text), "aHVudGVyMi1hbmQtbW9yZQ=="), key)
	}
	require.True(t, s.resources[secretKey].Inputs["data"].ContainsSecrets(), "the Secret's data is encrypted in the state")
	require.Contains(t, s.resources[secretKey].RegisterRPC.GetAdditionalSecretOutputs(), "data")
	require.Equal(t, "/run/secrets/postgres/POSTGRES_PASSWORD", s.env(t)["POSTGRES_PASSWORD_FILE"])
	require.NotContains(t, s.env(t), "POSTGRES_PASSWORD")
}

// env is the environment of the server, by name; what comes from the ConfigMap
// is looked up there, and what comes from the pod is the name of the field.
func (s *stack) env(t *testing.T) map[string]any {
	t.Helper()
	env := map[string]any{}
	for _, variable := range s.container(t, "env").([]any) {
		variable := variable.(map[string]any)
		value := variable["value"]
		if from, ok := variable["valueFrom"].(map[string]any); ok {
			if field, ok := from["fieldRef"].(map[string]any); ok {
				value = field["fieldPath"]
			} else {
				value = s.input(t, configKey, "data", from["configMapKeyRef"].(map[string]any)["key"].(string))
			}
		}
		env[variable["name"].(string)] = value
	}
	return env
}

func TestGeneratedPasswordStays(t *testing.T) {
	t.Parallel()
	first, second := setup(t, nil, nil), setup(t, nil, nil)
	require.Len(t, first.outputs["password"], 26)
	require.NotEqual(t, first.outputs["password"], second.outputs["password"])
	require.Equal(t, []string{"data"}, first.resources[secretKey].RegisterRPC.GetIgnoreChanges(),
		"a later run keeps what the first one generated")
}

func TestPasswordThatIsSetIsNotIgnored(t *testing.T) {
	t.Parallel()
	s := setup(t, &PostgresArgs{Password: pulumi.String("first")}, nil)
	require.Equal(t, []string{"data." + contract.DigestKey}, s.resources[secretKey].RegisterRPC.GetIgnoreChanges())
}

func TestPodIsReplacedWhenWhatItReadsChanges(t *testing.T) {
	t.Parallel()
	annotations := func(args PostgresArgs) map[string]any {
		return setup(t, &args, nil).input(t, setKey, "spec", "template", "metadata", "annotations").(map[string]any)
	}
	base := annotations(PostgresArgs{Password: pulumi.String("first")})
	require.Equal(t, base, annotations(PostgresArgs{Password: pulumi.String("first")}))
	require.Equal(t, base, annotations(PostgresArgs{Password: pulumi.String("first"), Replicas: ptr(0), Storage: "2Gi"}))

	password := annotations(PostgresArgs{Password: pulumi.String("second")})
	require.NotEqual(t, base["checksum/credentials"], password["checksum/credentials"])
	require.Equal(t, base["checksum/config"], password["checksum/config"])

	database := annotations(PostgresArgs{Password: pulumi.String("first"), Database: "shop"})
	require.NotEqual(t, base["checksum/config"], database["checksum/config"])
	require.Equal(t, base["checksum/credentials"], database["checksum/credentials"])
}

func TestParameters(t *testing.T) {
	t.Parallel()
	digest := func(parameters settings.Scalars) any {
		s := setup(t, &PostgresArgs{Password: pulumi.String("first"), Parameters: parameters}, nil)
		return s.input(t, setKey, "spec", "template", "metadata", "annotations", "checksum/config")
	}
	base := digest(nil)
	require.Equal(t, base, digest(settings.Scalars{"work_mem": "8MB", "log_line_prefix": "%m "}), "the running server takes these over")
	require.Equal(t, base, digest(settings.Scalars{"WORK_MEM": "8MB", "DateStyle": "ISO"}))
	for _, parameters := range []settings.Scalars{{"shared_buffers": "256MB"}, {"max_connections": "50"}, {"new_in_a_later_release": "1"}, {"auto_explain.log_analyze": "on"}} {
		require.NotEqual(t, base, digest(parameters), "%v: only a restart brings it into effect, for all that is known", parameters)
	}

	s := setup(t, &PostgresArgs{Parameters: settings.Scalars{"work_mem": "8MB", "log_line_prefix": `it's \ %m`}}, nil)
	require.Equal(t, "include_if_exists = '/var/lib/postgredb/pgdata/postgresql.conf'\n"+
		"log_line_prefix = 'it''s \\\\ %m'\nwork_mem = '8MB'\n",
		s.input(t, configKey, "data", "postgresql.conf"))
}

func TestWhoMayLogInIsNotLeftToTheVolume(t *testing.T) {
	t.Parallel()
	s := setup(t, nil, nil)
	require.Equal(t, "local all all trust\nlocal replication all trust\nhost all all all scram-sha-256\n",
		s.input(t, configKey, "data", "pg_hba.conf"))
	require.Equal(t, []any{
		"/bin/sh", "/etc/stateful-postgres/start.sh", "-c", "config_file=/etc/stateful-postgres/postgresql.conf",
		"-c", "hba_file=/etc/stateful-postgres/pg_hba.conf", "-c", "listen_addresses=*", "-c", "password_encryption=scram-sha-256",
		"-c", "port=5432", "-c", "unix_socket_directories=/var/run/postgresql", "-c", "unix_socket_group=",
		"-c", "unix_socket_permissions=0777", "-c", "ssl=off",
	}, s.container(t, "command"), "on the command line neither ALTER SYSTEM nor the volume's own files change them")
	require.Equal(t, "/etc/stateful-postgres/postgresql.conf /etc/stateful-postgres/pg_hba.conf", s.env(t)["RELOADED_FILES"])
	require.Contains(t, s.input(t, setKey, "spec", "template", "spec", "volumes", "0", "configMap", "items"),
		map[string]any{"key": "pg_hba.conf", "path": "pg_hba.conf"})
}

func TestPasswordDigestCannotBeUsedToTryPasswords(t *testing.T) {
	t.Parallel()
	s := setup(t, &PostgresArgs{Password: pulumi.String("first")}, nil)
	require.NotEmpty(t, s.input(t, secretKey, "data", contract.DigestKey), "the digest has a key that is only in the Secret")
	for _, item := range s.input(t, setKey, "spec", "template", "spec", "volumes", "1", "secret", "items").([]any) {
		require.NotEqual(t, contract.DigestKey, item.(map[string]any)["key"], "the key is not in the pod")
	}
}

func TestImmutableFieldsFollowNoSetting(t *testing.T) {
	t.Parallel()
	immutable := func(args *PostgresArgs) []any {
		s := setup(t, args, nil)
		var fields []any
		for _, field := range []string{
			"serviceName", "selector", "podManagementPolicy", "volumeClaimTemplates", "revisionHistoryLimit",
		} {
			fields = append(fields, s.input(t, setKey, "spec", field))
		}
		return fields
	}
	base := immutable(nil)
	require.Equal(t, base, immutable(&PostgresArgs{
		Namespace: "shop", Replicas: ptr(0), Image: "registry.example.com/pg:18", Storage: "20Gi", StorageClass: "fast",
		AccessModes: []string{settings.AccessModeReadWriteOncePod}, ServiceType: settings.ServiceTypeClusterIP, Database: "shop",
		User: "clerk", Password: pulumi.String("secret"), DeleteData: true,
	}))
	require.Equal(t, "postgres-headless", base[0])
	require.Equal(t, "Parallel", base[2])
}

func TestClaimFollowsTheSettings(t *testing.T) {
	t.Parallel()
	s := setup(t, &PostgresArgs{Storage: "2048Mi", StorageClass: "fast", AccessModes: []string{settings.AccessModeReadWriteOncePod}}, nil)
	require.Equal(t, "2Gi", s.input(t, claimKey, "spec", "resources", "requests", "storage"),
		"as the API server returns it, or every update would show a change")
	require.Equal(t, "fast", s.input(t, claimKey, "spec", "storageClassName"))
	require.Equal(t, []any{"ReadWriteOncePod"}, s.input(t, claimKey, "spec", "accessModes"))
	require.Equal(t, "true", s.input(t, claimKey, "metadata", "annotations", contract.AnnotationSkipAwait))

	s = setup(t, nil, nil)
	require.Nil(t, s.input(t, claimKey, "spec", "storageClassName"), "left to the cluster")
	template := s.input(t, setKey, "spec", "volumeClaimTemplates", "0", "metadata", "name")
	require.Equal(t, s.input(t, claimKey, "metadata", "name"), template.(string)+"-"+s.input(t, setKey, "metadata", "name").(string)+"-0",
		"the StatefulSet adopts the claim")
	require.Equal(t, template, s.container(t, "volumeMounts", "0", "name"))
}

func TestClaimsAreKeptWhenTheStatefulSetGoes(t *testing.T) {
	t.Parallel()
	s := setup(t, &PostgresArgs{DeleteData: true}, nil)
	require.Equal(t, map[string]any{"whenDeleted": "Retain", "whenScaled": "Retain"},
		s.input(t, setKey, "spec", "persistentVolumeClaimRetentionPolicy"))
}

func TestServices(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		args     PostgresArgs
		nodePort any
		await    map[string]any
		ranges   any
	}{
		{"node port chosen by the cluster", PostgresArgs{}, nil, map[string]any{contract.AnnotationSkipAwait: "true"}, nil},
		{"node port", PostgresArgs{NodePort: 31234}, 31234.0, map[string]any{contract.AnnotationSkipAwait: "true"}, nil},
		{"cluster IP", PostgresArgs{ServiceType: settings.ServiceTypeClusterIP}, nil, map[string]any{contract.AnnotationSkipAwait: "true"}, nil},
		{
			"load balancer is waited for", PostgresArgs{ServiceType: settings.ServiceTypeLoadBalancer}, nil,
			map[string]any{contract.AnnotationWaitFor: "jsonpath={.status.loadBalancer.ingress[0]}"}, nil,
		},
		{
			"load balancer for some networks", PostgresArgs{ServiceType: settings.ServiceTypeLoadBalancer, AllowFrom: []string{"10.0.0.0/8"}}, nil,
			map[string]any{contract.AnnotationWaitFor: "jsonpath={.status.loadBalancer.ingress[0]}"}, []any{"10.0.0.0/8"},
		},
		{
			"node port for some networks", PostgresArgs{AllowFrom: []string{"10.0.0.0/8"}}, nil,
			map[string]any{contract.AnnotationSkipAwait: "true"}, nil,
		},
		{
			"internal load balancer", PostgresArgs{ServiceType: settings.ServiceTypeLoadBalancer, ServiceAnnotations: settings.Scalars{"example.com/internal": "true"}}, nil,
			map[string]any{contract.AnnotationWaitFor: "jsonpath={.status.loadBalancer.ingress[0]}", "example.com/internal": "true"}, nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := setup(t, &test.args, nil)
			require.Equal(t, test.args.WithDefaults().ServiceType, s.input(t, serviceKey, "spec", "type"))
			require.Equal(t, test.nodePort, s.input(t, serviceKey, "spec", "ports", "0", "nodePort"))
			require.Equal(t, 5432.0, s.input(t, serviceKey, "spec", "ports", "0", "port"))
			annotations := s.input(t, serviceKey, "metadata", "annotations").(map[string]any)
			delete(annotations, contract.AnnotationFieldManager)
			delete(annotations, contract.AnnotationPatchForce)
			require.Equal(t, test.await, annotations)
			require.Equal(t, test.ranges, s.input(t, serviceKey, "spec", "loadBalancerSourceRanges"))

			require.Equal(t, "None", s.input(t, headlessKey, "spec", "clusterIP"))
			require.Nil(t, s.input(t, headlessKey, "spec", "ports", "0", "nodePort"))
			require.Equal(t, "true", s.input(t, headlessKey, "metadata", "annotations", contract.AnnotationSkipAwait))
			require.Equal(t, s.input(t, setKey, "spec", "selector", "matchLabels"), s.input(t, serviceKey, "spec", "selector"))
		})
	}
}

func TestWhoMayReachTheServer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		args PostgresArgs
		want any
	}{
		{"node port: everybody", PostgresArgs{}, nil},
		{"load balancer: everybody", PostgresArgs{ServiceType: settings.ServiceTypeLoadBalancer}, nil},
		{
			"cluster IP: the cluster's pods", PostgresArgs{ServiceType: settings.ServiceTypeClusterIP},
			[]any{map[string]any{"namespaceSelector": map[string]any{}}},
		},
		{
			"networks", PostgresArgs{AllowFrom: []string{"10.0.0.0/8", "192.0.2.7/32"}},
			[]any{
				map[string]any{"ipBlock": map[string]any{"cidr": "10.0.0.0/8"}},
				map[string]any{"ipBlock": map[string]any{"cidr": "192.0.2.7/32"}},
				map[string]any{"podSelector": map[string]any{"matchLabels": map[string]any{
					"app.kubernetes.io/managed-by": "pulumi", "app.kubernetes.io/name": "postgres-check",
				}}},
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := setup(t, &test.args, nil)
			const key = "kubernetes:networking.k8s.io/v1:NetworkPolicy/postgres"
			require.Equal(t, test.want, s.input(t, key, "spec", "ingress", "0", "from"))
			require.Equal(t, 5432.0, s.input(t, key, "spec", "ingress", "0", "ports", "0", "port"))
			require.Equal(t, s.input(t, setKey, "spec", "selector"), s.input(t, key, "spec", "podSelector"))
		})
	}
}

func TestPodPassesTheRestrictedStandard(t *testing.T) {
	t.Parallel()
	s := setup(t, nil, nil)
	require.Equal(t, "restricted", s.input(t, namespaceKey, "metadata", "labels", "pod-security.kubernetes.io/enforce"))
	pod := []string{"spec", "template", "spec"}
	require.Equal(t, map[string]any{
		"runAsNonRoot": true, "runAsUser": 999.0, "runAsGroup": 999.0, "fsGroup": 999.0,
		"fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": map[string]any{"type": "RuntimeDefault"},
	}, s.input(t, setKey, append(pod, "securityContext")...))
	require.Equal(t, map[string]any{
		"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
		"capabilities": map[string]any{"drop": []any{"ALL"}},
	}, s.container(t, "securityContext"))
	require.Equal(t, false, s.input(t, setKey, append(pod, "automountServiceAccountToken")...))
	require.Equal(t, "postgres", s.input(t, setKey, append(pod, "serviceAccountName")...))
	require.Equal(t, false, s.input(t, accountKey, "automountServiceAccountToken"))
	require.Equal(t, false, s.input(t, setKey, append(pod, "enableServiceLinks")...))
}

func TestPodFollowsTheSettings(t *testing.T) {
	t.Parallel()
	affinity := &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			TopologyKey:   "kubernetes.io/hostname",
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "busy"}},
		}},
	}}
	s := setup(t, &PostgresArgs{
		Resources:         settings.Resources{Requests: map[string]string{"memory": "1024Mi"}, Limits: map[string]string{"cpu": "2000m"}},
		ShmSize:           "1024Mi",
		NodeSelector:      map[string]string{"disk": "ssd"},
		Tolerations:       []corev1.Toleration{{Key: "db", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr(int64(5))}},
		Affinity:          affinity,
		PriorityClassName: "high",
		PodAnnotations:    map[string]string{"example.com/team": "data"},
		ImagePullSecrets:  []string{"registry"},
		InitScripts:       map[string]string{"2.sql": "select 2", "1.sh": "true"},
	}, nil)
	pod := s.input(t, setKey, "spec", "template", "spec").(map[string]any)
	require.Equal(t, map[string]any{
		"requests": map[string]any{"memory": "1Gi"}, "limits": map[string]any{"cpu": "2"},
	}, s.container(t, "resources"))
	require.Equal(t, map[string]any{"disk": "ssd"}, pod["nodeSelector"])
	require.Equal(t, []any{map[string]any{
		"key": "db", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5.0,
	}}, pod["tolerations"])
	require.Equal(t, map[string]any{"podAntiAffinity": map[string]any{
		"requiredDuringSchedulingIgnoredDuringExecution": []any{map[string]any{
			"topologyKey":   "kubernetes.io/hostname",
			"labelSelector": map[string]any{"matchLabels": map[string]any{"app": "busy"}},
		}},
	}}, pruned(pod["affinity"]))
	require.Equal(t, "high", pod["priorityClassName"])
	require.Equal(t, []any{map[string]any{"name": "registry"}}, pod["imagePullSecrets"])
	require.Equal(t, "data", s.input(t, setKey, "spec", "template", "metadata", "annotations", "example.com/team"))

	volumes := map[string]any{}
	for _, volume := range pod["volumes"].([]any) {
		volumes[volume.(map[string]any)["name"].(string)] = volume
	}
	require.Equal(t, map[string]any{"medium": "Memory", "sizeLimit": "1Gi"}, volumes["shared-memory"].(map[string]any)["emptyDir"])
	require.Equal(t, []any{
		map[string]any{"key": "initdb-1.sh", "path": "1.sh"}, map[string]any{"key": "initdb-2.sql", "path": "2.sql"},
	}, volumes["init-scripts"].(map[string]any)["configMap"].(map[string]any)["items"])
	require.Equal(t, "select 2", s.input(t, configKey, "data", "initdb-2.sql"))
}

// pruned leaves out empty lists, as the provider does before it compares.
func pruned(value any) any {
	switch value := value.(type) {
	case map[string]any:
		kept := map[string]any{}
		for key, element := range value {
			if list, isList := element.([]any); !isList || len(list) > 0 {
				kept[key] = pruned(element)
			}
		}
		return kept
	case []any:
		var kept []any
		for _, element := range value {
			kept = append(kept, pruned(element))
		}
		return kept
	}
	return value
}

func TestPodSaysNothingThatIsNotSet(t *testing.T) {
	t.Parallel()
	pod := setup(t, &PostgresArgs{Affinity: &corev1.Affinity{}}, nil).input(t, setKey, "spec", "template", "spec").(map[string]any)
	for _, field := range []string{"nodeSelector", "tolerations", "affinity", "priorityClassName", "imagePullSecrets"} {
		require.NotContains(t, pod, field)
	}
	require.NotContains(t, pod["containers"].([]any)[0], "resources")
}

func TestDataDirectoryIsBelowTheMount(t *testing.T) {
	t.Parallel()
	s := setup(t, nil, nil)
	require.Equal(t, s.container(t, "volumeMounts", "0", "mountPath").(string)+"/pgdata", s.env(t)["PGDATA"])
	require.Contains(t, s.env(t)["POSTGRES_INITDB_ARGS"], "--data-checksums")
	require.Equal(t, "codewizard", s.env(t)["POSTGRES_DB"])
	require.Equal(t, "codewizard", s.env(t)["POSTGRES_USER"])
}

func TestTimeBudgetIsInOrder(t *testing.T) {
	t.Parallel()
	for _, timeout := range []time.Duration{0, settings.MinShutdownTimeout, 90 * time.Second, settings.MaxShutdownTimeout} {
		s := setup(t, &PostgresArgs{ShutdownTimeout: timeout}, nil)
		command := s.container(t, "lifecycle", "preStop", "exec", "command").([]any)
		checkpoint, err := time.ParseDuration(command[len(command)-1].(string) + "s")
		require.NoError(t, err)
		grace := time.Duration(s.input(t, setKey, "spec", "template", "spec", "terminationGracePeriodSeconds").(float64)) * time.Second
		timeouts := s.resources[setKey].RegisterRPC.GetCustomTimeouts()
		update, err := time.ParseDuration(timeouts.GetUpdate())
		require.NoError(t, err)

		if timeout != 0 {
			require.Equal(t, timeout, grace)
		}
		require.Positive(t, checkpoint)
		require.LessOrEqual(t, 2*checkpoint, grace, "the shutdown has at least as long as the checkpoint before it")
		require.Less(t, grace, update)
		require.Equal(t, timeouts.GetUpdate(), timeouts.GetCreate())
		require.Equal(t, timeouts.GetUpdate(), timeouts.GetDelete())
	}
}

func TestSettingRepairsWhatAlterSystemHasBroken(t *testing.T) {
	t.Parallel()
	s := setup(t, &PostgresArgs{TLS: true, Parameters: settings.Scalars{
		"max_connections": "100", "shared_preload_libraries": "", "cluster_name": "$(HOME) a$b", "ssl_ciphers": "HIGH", "work_mem": "8MB",
	}}, nil)
	command := s.container(t, "command").([]any)
	for _, argument := range []string{"max_connections=100", "shared_preload_libraries=", "cluster_name=$$(HOME) a$$b", "ssl_ciphers=HIGH"} {
		at := slices.Index(command, any(argument))
		require.Positive(t, at, "%s counts more than the volume's files: %s", argument, command)
		require.Equal(t, "-c", command[at-1])
	}
	require.NotContains(t, command, "work_mem=8MB", "the running server takes it over from the file")
}

func TestProbesEndByThemselves(t *testing.T) {
	t.Parallel()
	s := setup(t, nil, nil)
	require.Nil(t, s.container(t, "startupProbe"))
	for _, probe := range []string{"readinessProbe", "livenessProbe"} {
		require.Equal(t, 30.0, s.container(t, probe, "timeoutSeconds"), probe)
	}
}

func TestChangesByHandAreTakenBack(t *testing.T) {
	t.Parallel()
	s := setup(t, &PostgresArgs{Replicas: ptr(0)}, nil)
	require.Equal(t, 0.0, s.input(t, setKey, "spec", "replicas"))
	for _, key := range []string{configKey, secretKey, serviceKey, headlessKey, claimKey, setKey} {
		require.Equal(t, "true", s.input(t, key, "metadata", "annotations", contract.AnnotationPatchForce), key)
	}
	require.Nil(t, s.input(t, namespaceKey, "metadata", "annotations", contract.AnnotationPatchForce),
		"a namespace that belongs to somebody is not taken by force")
}

func TestProviderHasTheStacksKubernetesSettings(t *testing.T) {
	t.Parallel()
	s := setup(t, nil, map[string]string{
		"kubernetes:context":            "elsewhere",
		"kubernetes:kubeconfig":         "apiVersion: v1",
		"kubernetes:deleteUnreachable":  "true",
		"kubernetes:kubeClientSettings": `{"timeout": 7}`,
	})
	require.Equal(t, "elsewhere", s.input(t, providerKey, "context"))
	require.Equal(t, "apiVersion: v1", s.input(t, providerKey, "kubeconfig"))
	require.True(t, s.resources[providerKey].Inputs["kubeconfig"].IsSecret())
	require.Equal(t, true, s.input(t, providerKey, "deleteUnreachable"))
	require.Equal(t, 7.0, s.input(t, providerKey, "kubeClientSettings", "timeout"))
}

// A program that makes its own cluster knows the kubeconfig only later.
func TestProviderHasTheKubeconfigOfTheProgram(t *testing.T) {
	t.Parallel()
	made := pulumi.String("apiVersion: v1").ToStringOutput()
	s := setup(t, &PostgresArgs{Kubeconfig: made}, map[string]string{
		"kubernetes:context": "elsewhere", "kubernetes:cluster": "there", "kubernetes:kubeconfig": "other",
	})
	require.Equal(t, "apiVersion: v1", s.input(t, providerKey, "kubeconfig"))
	require.True(t, s.resources[providerKey].Inputs["kubeconfig"].IsSecret())
	require.Nil(t, s.input(t, providerKey, "context"), "the stack's context is of another kubeconfig")
	require.Nil(t, s.input(t, providerKey, "cluster"))
	require.Equal(t, []any{"apiVersion: v1", "", ""}, []any{s.outputs["kubeconfig"], s.outputs["context"], s.outputs["cluster"]})
	require.Equal(t, []string{"kubeconfig", "password"}, s.secrets)
}

func TestProviderThatWritesFilesIsToldOfNoCluster(t *testing.T) {
	t.Parallel()
	s := setup(t, nil, map[string]string{
		"kubernetes:renderYamlToDirectory": "manifests", "kubernetes:context": "elsewhere",
		"kubernetes:cluster": "there", "kubernetes:kubeconfig": "apiVersion: v1",
	})
	require.Equal(t, "manifests", s.input(t, providerKey, "renderYamlToDirectory"))
	require.Equal(t, "", s.input(t, providerKey, "kubeconfig"))
	require.Nil(t, s.input(t, providerKey, "context"))
	require.Nil(t, s.input(t, providerKey, "cluster"))
}

func TestProviderKeepsPathsOfTheMachineOutOfTheState(t *testing.T) {
	t.Setenv("KUBECONFIG", "/home/someone/.kube/config:/home/someone/other")
	s := setup(t, nil, nil)
	require.Equal(t, "", s.input(t, providerKey, "kubeconfig"))
}

func TestProviderTakesOverAndIsNeverReplaced(t *testing.T) {
	t.Parallel()
	first := setup(t, nil, map[string]string{"kubernetes:context": "a"})
	second := setup(t, nil, map[string]string{"kubernetes:context": "b", "kubernetes:kubeconfig": "apiVersion: v1"})
	for _, s := range []*stack{first, second} {
		require.Equal(t, "stateful-postgres", s.input(t, providerKey, "clusterIdentifier"))
		for _, property := range []string{
			"upsertExistingObjects", "enableSecretMutable", "enableConfigMapMutable", "enableServerSideApply",
		} {
			require.Equal(t, true, s.input(t, providerKey, property), property)
		}
	}
}

func TestNothingIsDeclaredWithInvalidArgs(t *testing.T) {
	t.Parallel()
	s := &stack{resources: map[string]pulumi.MockResourceArgs{}}
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		_, err := NewPostgres(ctx, "postgres", &PostgresArgs{Replicas: ptr(2), Storage: "1Qi"})
		return err
	}, pulumi.WithMocks("project", "stack", s))
	require.ErrorContains(t, err, "2 settings are invalid, nothing was changed:")
	require.Empty(t, s.resources)
}

func TestPasswordOfAProgramIsCheckedWhenItIsKnown(t *testing.T) {
	t.Parallel()
	s := &stack{resources: map[string]pulumi.MockResourceArgs{}}
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		_, err := NewPostgres(ctx, "postgres", &PostgresArgs{Password: pulumi.String("two\nlines")})
		return err
	}, pulumi.WithMocks("project", "stack", s))
	require.ErrorContains(t, err, "password: got one with a line break")
	require.NotContains(t, err.Error(), "two\nlines")
	require.NotContains(t, s.resources, secretKey)
}

func TestClaimAsksForTheVolumeOfTheSettings(t *testing.T) {
	t.Parallel()
	s := setup(t, &PostgresArgs{VolumeName: "pv-1"}, nil)
	require.Equal(t, "pv-1", s.input(t, claimKey, "spec", "volumeName"))
	require.Equal(t, []string{"spec.storageClassName", "spec.volumeName"}, s.resources[claimKey].RegisterRPC.GetIgnoreChanges(),
		"a setting that is taken away must not replace the claim")
}
