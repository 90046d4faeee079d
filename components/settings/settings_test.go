package settings

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"stateful-postgres/components/problem"
)

// read is FromConfig for a project p whose password is a secret.
func read(config map[string]string) (*Args, error) {
	qualified := map[string]string{}
	for key, value := range config {
		qualified["p:"+key] = value
	}
	args := FromConfig("p", qualified, func(string) bool { return true })
	return args, invalid(args)
}

// invalid is all that is wrong with settings, as an error.
func invalid(args *Args) error {
	return problem.AsError(args.WithDefaults().Invalid(), args.Reader())
}

func TestValidSettings(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 63)
	for setting, values := range map[string][]string{
		"namespace":    {"codewizard", "a", "0", "my-db-1", long},
		"replicas":     {"0", "1"},
		"image":        {"postgres", "postgres:17", "localhost/postgres:15", "localhost:5000/a/b__c:V1.2-x", "registry.example.com/team/postgresql:17.2", "postgres@sha256:" + strings.Repeat("0a", 32), "postgres:17@sha256:" + strings.Repeat("0a", 32)},
		"storage":      {"128Mi", "1Gi", "1G", "1.5Gi", "2e9", "134217728", "10Ti"},
		"storageClass": {"", "fast", "local-path", "gp3.encrypted"},
		"volumeName":   {"", "postgres-pv-volume", "pvc-0ec1ce1f-2a5f-4c2b-9f0e-1c2d3e4f5a6b"},
		"accessModes":  {"ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany", "ReadWriteOnce,ReadWriteMany", `["ReadWriteOnce", "ReadWriteMany"]`},
		"serviceType":  {"ClusterIP", "NodePort", "LoadBalancer"},
		"nodePort":     {"", "80", "29999", "30000", "32767", "32768", "65535"},
		"database":     {"codewizard", "postgres", "_x", "my-app_2", "MyShop", long},
		"user":         {"codewizard", "postgres", "_x", "my-app_2", "MyClerk", long},
		"password":     {"", "x", "it's \"quoted\" \\ $HOME `id` %s", "pässwörd 密码", strings.Repeat("x", 1024)},
		"deleteData":   {"true", "false"},

		"initializeEmptyVolume": {"true", "false"},
		"createNamespace":       {"true", "false", ""},

		"resources":             {"", "{}", `{"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi", "hugepages-2Mi": "4Mi"}}`},
		"shmSize":               {"64Mi", "1Gi"},
		"allowFrom":             {"[]", `["10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"]`},
		"shutdownTimeout":       {"10s", "2m", "1h"},
		"parameters":            {"{}", `{"max_connections": 50, "log_checkpoints": true, "auto_explain.log_min_duration": "1s", "search_path": "\"$user\", public"}`},
		"nodeSelector":          {"{}", `{"kubernetes.io/arch": "amd64", "disk": ""}`},
		"tolerations":           {"[]", `[{"key": "db", "value": "x", "effect": "NoSchedule"}, {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]`},
		"affinity":              {"{}", `{"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}`},
		"priorityClassName":     {"", "system-node-critical"},
		"serviceAnnotations":    {"{}", `{"example.com/internal": true}`},
		"externalTrafficPolicy": {"", "Local", "Cluster"},
		"podAnnotations":        {"{}", `{"Example.com/Team": "data", "note": "any text"}`},
		"imagePullSecrets":      {"[]", `["registry", "other"]`},
		"initScripts":           {"{}", `{"1_seed.sql": "select 1", "2-more.sh": "true"}`},
	} {
		for _, value := range values {
			_, err := read(map[string]string{setting: value})
			require.NoError(t, err, "%s: %q", setting, value)
		}
	}
}

// Lines that several cases below share.
const (
	wantNamespace  = "expected a namespace of its own: at most 63 lower-case letters, digits and hyphens, beginning and ending with a letter or digit; set it with: pulumi config set namespace codewizard"
	wantOwn        = "expected a namespace of its own, not one that belongs to the cluster; set it with: pulumi config set namespace codewizard"
	wantReplicas   = "expected 0 (stopped, data kept) or 1; set it with: pulumi config set replicas 1"
	wantOneServer  = "expected 0 (stopped, data kept) or 1, because more servers need highAvailability; set it with: pulumi config set replicas 1, or have them follow each other with: pulumi config set highAvailability true"
	wantImage      = "expected an image reference like postgres:17 or registry.example.com/postgres@sha256:<64 hex digits>; set it with: pulumi config set image postgres:17"
	wantStorage    = "expected a Kubernetes quantity of at least 128Mi, like 1Gi or 500Gi; set it with: pulumi config set storage 1Gi"
	wantVolume     = "expected the name of a PersistentVolume; list them with: kubectl get pv, or let the storage class make a new one with: pulumi config rm volumeName"
	wantClass      = "expected the name of a storage class; list them with: kubectl get storageclass, or use the default one with: pulumi config rm storageClass"
	wantModes      = "expected one or more of ReadWriteOnce, ReadWriteOncePod or ReadWriteMany; set it with: pulumi config set accessModes ReadWriteOnce"
	wantWritable   = "expected modes that the server can write with: ReadWriteOnce, ReadWriteOncePod or ReadWriteMany; set it with: pulumi config set accessModes ReadWriteOnce"
	wantModeOnce   = "expected each mode once; set it with: pulumi config set accessModes ReadWriteOnce"
	wantModeAlone  = "expected ReadWriteOncePod alone, as Kubernetes demands; set it with: pulumi config set accessModes ReadWriteOnce"
	wantService    = "expected ClusterIP, NodePort or LoadBalancer; set it with: pulumi config set serviceType NodePort"
	wantNodePort   = "expected a port of the cluster's range for node ports, 1 to 65535, or none to let the cluster choose; remove it with: pulumi config rm nodePort"
	wantIdentifier = "expected at most 63 letters of a to z and A to Z, digits, underscores and hyphens, beginning with a letter or underscore; set it with: pulumi config set %s codewizard"
	wantNotOwn     = "expected a name that PostgreSQL does not use itself; set it with: pulumi config set %s codewizard"
	wantPassword   = "expected 1 to 1024 bytes of UTF-8 without control characters; set another one with: pulumi config set --secret password, or have one generated with: pulumi config rm password"
	wantSetting    = "expected one of the settings accessModes, affinity, allowFrom, clusterUid, createNamespace, database, deleteData, externalTrafficPolicy, fixVolumeOwner, highAvailability, image, imagePullSecrets, initScripts, initializeEmptyVolume, kubeconfig, namespace, nodePort, nodeSelector, parameters, password, podAnnotations, priorityClassName, replicas, requireTls, resources, runAsUser, separateNodes, serviceAnnotations, serviceType, shmSize, shutdownTimeout, storage, storageClass, synchronousStandbys, tls, tlsNames, tlsSecret, tolerations, user or volumeName; remove it with: pulumi config rm "
	wantTimeout    = "expected whole seconds from 10s to 1h0m0s, like 90s or 2m; set it with: pulumi config set shutdownTimeout 2m"
	wantShmSize    = "expected a Kubernetes quantity of at least 64Mi, like 256Mi; set it with: pulumi config set shmSize 256Mi"
	wantResources  = "expected requests and limits, like {requests: {memory: 1Gi}}; remove it with: pulumi config rm resources"
	wantQuantity   = "expected a positive Kubernetes quantity, like 500m or 2Gi; change it with: pulumi config set --path resources."
	wantSelector   = "expected a node's label and its value; list them with: kubectl get nodes --show-labels, or remove it with: pulumi config rm nodeSelector"
	wantPriority   = "expected the name of a priority class; list them with: kubectl get priorityclass, or remove it with: pulumi config rm priorityClassName"
	wantAnnotation = "expected an annotation's key, like example.com/name; remove it with: pulumi config rm podAnnotations"
	wantPullSecret = "expected the name of a Secret in the namespace; remove it with: pulumi config rm imagePullSecrets"
	wantScriptName = "expected a file name of letters, digits, dots, hyphens and underscores; remove it with: pulumi config rm initScripts"
	wantScriptKind = "expected a file name that ends with .sh or .sql, as the image runs no other; remove it with: pulumi config rm initScripts"
	wantDeleteData = "expected true or false; set it with: pulumi config set deleteData false"
)

func TestInvalidSettings(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 64)
	wantDatabase, wantUser := fmt.Sprintf(wantIdentifier, "database"), fmt.Sprintf(wantIdentifier, "user")
	wantOtherDatabase, wantOtherUser := fmt.Sprintf(wantNotOwn, "database"), fmt.Sprintf(wantNotOwn, "user")
	for _, test := range []struct{ setting, value, want string }{
		{"namespace", "Codewizard", `got "Codewizard", ` + wantNamespace},
		{"namespace", "code_wizard", `got "code_wizard", ` + wantNamespace},
		{"namespace", "-a", `got "-a", ` + wantNamespace},
		{"namespace", "a-", `got "a-", ` + wantNamespace},
		{"namespace", "a.b", `got "a.b", ` + wantNamespace},
		{"namespace", " codewizard", `got " codewizard", ` + wantNamespace},
		{"namespace", long, `got "` + long + `", ` + wantNamespace},
		{"namespace", "default", `got "default", ` + wantOwn},
		{"namespace", "kube-system", `got "kube-system", ` + wantOwn},

		{"replicas", "-1", `got "-1", ` + wantReplicas},
		{"replicas", "1.5", `got "1.5", ` + wantReplicas},
		{"replicas", "two", `got "two", ` + wantReplicas},
		{"replicas", "", `got "", ` + wantReplicas},
		{"replicas", "1 ", `got "1 ", ` + wantReplicas},
		{"replicas", "0x1", `got "0x1", ` + wantReplicas},
		{"replicas", "99999999999999999999", `got "99999999999999999999", ` + wantReplicas},
		{"replicas", "true", `got "true", ` + wantReplicas},
		{"replicas", "2", `got "2", ` + wantOneServer},

		{"image", "", `got "", ` + wantImage},
		{"storage", "", `got "", ` + wantStorage},
		{"shmSize", "", `got "", ` + wantShmSize},
		{"namespace", "", `got "", ` + wantNamespace},
		{"serviceType", "", `got "", ` + wantService},
		{"accessModes", "", `got "", ` + wantModes},
		{"accessModes", "[]", `got "[]", ` + wantModes},
		{"image", "Postgres:17", `got "Postgres:17", ` + wantImage},
		{"image", "postgres:", `got "postgres:", ` + wantImage},
		{"image", "postgres 17", `got "postgres 17", ` + wantImage},
		{"image", "https://example.com/postgres", `got "https://example.com/postgres", ` + wantImage},
		{"image", "postgres@sha256:abc", `got "postgres@sha256:abc", ` + wantImage},
		{"image", "postgres:17\n", `got "postgres:17\n", ` + wantImage},
		{"image", "/postgres", `got "/postgres", ` + wantImage},
		{"image", "postgres:" + strings.Repeat("x", 129), `got "postgres:` + strings.Repeat("x", 70) + `… (138 bytes), ` + wantImage},

		{"storage", "1Qi", `got "1Qi", ` + wantStorage},
		{"storage", "0", `got "0", ` + wantStorage},
		{"storage", "-1Gi", `got "-1Gi", ` + wantStorage},
		{"storage", "1 Gi", `got "1 Gi", ` + wantStorage},
		{"storage", "1GB", `got "1GB", ` + wantStorage},
		{"storage", "1gi", `got "1gi", ` + wantStorage},
		{"storage", "large", `got "large", ` + wantStorage},
		{"storage", "1", `got "1", ` + wantStorage},
		{"storage", "500m", `got "500m", ` + wantStorage},
		{"storage", "127Mi", `got "127Mi", ` + wantStorage},

		{"storageClass", "Fast", `got "Fast", ` + wantClass},
		{"storageClass", "fast disk", `got "fast disk", ` + wantClass},
		{"storageClass", "-", `got "-", ` + wantClass},

		{"volumeName", "My Volume", `got "My Volume", ` + wantVolume},
		{"volumeName", "pv_1", `got "pv_1", ` + wantVolume},
		{"volumeName", "pv/1", `got "pv/1", ` + wantVolume},

		{"accessModes", "ReadOnlyMany", `got "ReadOnlyMany", ` + wantWritable},
		{"accessModes", "ReadWriteOnce,ReadOnlyMany", `got "ReadWriteOnce,ReadOnlyMany", ` + wantWritable},
		{"accessModes", "RWO", `got "RWO", ` + wantModes},
		{"accessModes", "readWriteOnce", `got "readWriteOnce", ` + wantModes},
		{"accessModes", "ReadWriteOnce ReadWriteMany", `got "ReadWriteOnce ReadWriteMany", ` + wantModes},
		{"accessModes", `["ReadWriteOnce", 1]`, `got "ReadWriteOnce,1", ` + wantModes},
		{"accessModes", `["ReadWriteOnce", []]`, `got "[\"ReadWriteOnce\", []]", ` + wantModes},
		{"accessModes", `{"mode": "ReadWriteOnce"}`, `got "{\"mode\": \"ReadWriteOnce\"}", ` + wantModes},
		{"accessModes", "ReadWriteOnce,ReadWriteOnce", `got "ReadWriteOnce,ReadWriteOnce", ` + wantModeOnce},
		{"accessModes", "ReadWriteOncePod,ReadWriteOnce", `got "ReadWriteOncePod,ReadWriteOnce", ` + wantModeAlone},

		{"serviceType", "nodePort", `got "nodePort", ` + wantService},
		{"serviceType", "ExternalName", `got "ExternalName", ` + wantService},
		{"serviceType", "None", `got "None", ` + wantService},

		{"nodePort", "0", `got "0", ` + wantNodePort},
		{"nodePort", "-1", `got "-1", ` + wantNodePort},
		{"nodePort", "65536", `got "65536", ` + wantNodePort},
		{"nodePort", "auto", `got "auto", ` + wantNodePort},
		{"nodePort", "30000.5", `got "30000.5", ` + wantNodePort},

		{"database", "", `got "", ` + wantDatabase},
		{"database", "code wizard", `got "code wizard", ` + wantDatabase},
		{"database", "1st", `got "1st", ` + wantDatabase},
		{"database", "-c", `got "-c", ` + wantDatabase},
		{"database", "a;b", `got "a;b", ` + wantDatabase},
		{"database", "a'b", `got "a'b", ` + wantDatabase},
		{"database", "$(id)", `got "$(id)", ` + wantDatabase},
		{"database", "host=evil", `got "host=evil", ` + wantDatabase},
		{"database", "postgres://x", `got "postgres://x", ` + wantDatabase},
		{"database", "größe", `got "größe", ` + wantDatabase},
		{"database", "a\x00b", `got "a\x00b", ` + wantDatabase},
		{"database", long, `got "` + long + `", ` + wantDatabase},
		{"database", "template1", `got "template1", ` + wantOtherDatabase},
		{"database", "replication", `got "replication", ` + wantOtherDatabase},
		{"database", "all", `got "all", ` + wantOtherDatabase},

		{"user", "", `got "", ` + wantUser},
		{"user", "code wizard", `got "code wizard", ` + wantUser},
		{"user", "a\"b", `got "a\"b", ` + wantUser},
		{"user", long, `got "` + long + `", ` + wantUser},
		{"user", "pg_admin", `got "pg_admin", ` + wantOtherUser},
		{"user", "public", `got "public", ` + wantOtherUser},
		{"user", "none", `got "none", ` + wantOtherUser},

		{"password", "two\nlines", "got one with a line break or another control character, " + wantPassword},
		{"password", "carriage\r", "got one with a line break or another control character, " + wantPassword},
		{"password", "nul\x00", "got one with a line break or another control character, " + wantPassword},
		{"password", "latin\xff1", "got one that is not valid UTF-8, " + wantPassword},
		{"password", "Ⅸ", "got one with a character that some clients replace before they log in, like ª, Ⅸ or an invisible one, " + wantPassword},
		{"password", "soft\u00adhyphen", "got one with a character that some clients replace before they log in, like ª, Ⅸ or an invisible one, " + wantPassword},
		{"password", strings.Repeat("x", 1025), "got one of 1025 bytes, " + wantPassword},

		{"deleteData", "yes", `got "yes", ` + wantDeleteData},
		{"deleteData", "True", `got "True", ` + wantDeleteData},
		{"deleteData", "1", `got "1", ` + wantDeleteData},
		{"deleteData", "", `got "", ` + wantDeleteData},
		{"createNamespace", "maybe", `got "maybe", expected true, false or nothing; remove it with: pulumi config rm createNamespace`},
		{"initializeEmptyVolume", "on", `got "on", expected true or false; set it with: pulumi config set initializeEmptyVolume false`},

		{"shmSize", "big", `got "big", ` + wantShmSize},
		{"shmSize", "63Mi", `got "63Mi", ` + wantShmSize},
		{"shmSize", "-1Gi", `got "-1Gi", ` + wantShmSize},

		{"allowFrom", "10.0.0.0/8", `got "10.0.0.0/8", expected a list of networks, like [10.0.0.0/8]; remove it with: pulumi config rm allowFrom`},
		{"allowFrom", `["10.0.0.1"]`, `got "10.0.0.1", expected networks in CIDR notation, like 10.0.0.0/8 or 192.0.2.7/32; remove it with: pulumi config rm allowFrom`},
		{"allowFrom", `["10.0.0.0/33"]`, `got "10.0.0.0/33", expected networks in CIDR notation, like 10.0.0.0/8 or 192.0.2.7/32; remove it with: pulumi config rm allowFrom`},
		{"allowFrom", `["10.0.0.1/8"]`, `got "10.0.0.1/8", expected 10.0.0.0/8, the network's own address; remove it with: pulumi config rm allowFrom`},

		{"parameters", "fast", `got "fast", expected a map of parameters, like {shared_buffers: 256MB}; remove it with: pulumi config rm parameters`},
		{"parameters", `{"work mem": "4MB"}`, `got "work mem", expected the name of a parameter of PostgreSQL; remove it with: pulumi config rm parameters`},
		{"parameters", `{"work_mem = 1\nport": "4MB"}`, `got "work_mem = 1\nport", expected the name of a parameter of PostgreSQL; remove it with: pulumi config rm parameters`},
		{"parameters", `{"a.b.c": "1"}`, `got "a.b.c", expected the name of a parameter of PostgreSQL; remove it with: pulumi config rm parameters`},

		{"shutdownTimeout", "120", `got "120", ` + wantTimeout},
		{"shutdownTimeout", "soon", `got "soon", ` + wantTimeout},
		{"shutdownTimeout", "9s", `got "9s", ` + wantTimeout},
		{"shutdownTimeout", "2h", `got "2h0m0s", ` + wantTimeout},
		{"shutdownTimeout", "10.5s", `got "10.5s", ` + wantTimeout},
		{"shutdownTimeout", "-1m", `got "-1m0s", ` + wantTimeout},

		{"resources", "1Gi", `got "1Gi", ` + wantResources},
		{"resources", `{"request": {}}`, `got "{\"request\": {}}", ` + wantResources},
		{"resources", `{"limits": {"memory": [1]}}`, `got "{\"limits\": {\"memory\": [1]}}", ` + wantResources},

		{"nodeSelector", "ssd", `got "ssd", expected a map of labels, like {disk: ssd}; remove it with: pulumi config rm nodeSelector`},
		{"nodeSelector", `{"disk type": "ssd"}`, `got "disk type=ssd", ` + wantSelector},
		{"nodeSelector", `{"disk": "s s d"}`, `got "disk=s s d", ` + wantSelector},

		{"tolerations", "all", `got "all", expected a list of tolerations as in a pod; remove it with: pulumi config rm tolerations`},
		{"tolerations", `[{"keys": "db"}]`, `got "[{\"keys\": \"db\"}]", expected a list of tolerations as in a pod; remove it with: pulumi config rm tolerations`},
		{"tolerations", `[{"key": "db", "operator": "Is"}]`, `got "Is", expected operator Equal or Exists; remove it with: pulumi config rm tolerations`},
		{"tolerations", `[{"key": "db", "effect": "No"}]`, `got "No", expected effect NoSchedule, PreferNoSchedule or NoExecute; remove it with: pulumi config rm tolerations`},
		{"tolerations", `[{"key": "d b", "operator": "Exists"}]`, `got "d b", expected the key of a taint; remove it with: pulumi config rm tolerations`},
		{"tolerations", `[{"value": "x"}]`, `got "", expected operator Exists where there is no key; remove it with: pulumi config rm tolerations`},
		{"tolerations", `[{"key": "db", "operator": "Exists", "value": "x"}]`, `got "x", expected no value with operator Exists; remove it with: pulumi config rm tolerations`},
		{"tolerations", `[{"key": "db", "tolerationSeconds": 5}]`, `got "", expected effect NoExecute with tolerationSeconds; remove it with: pulumi config rm tolerations`},

		{"affinity", `{"nodeAfinity": {}}`, `got "{\"nodeAfinity\": {}}", expected an affinity as in a pod; remove it with: pulumi config rm affinity`},
		{"priorityClassName", "High Priority", `got "High Priority", ` + wantPriority},
		{"podAnnotations", `{"a b": "c"}`, `got "a b", ` + wantAnnotation},
		{"serviceAnnotations", `{"a b": "c"}`, `got "a b", expected an annotation's key, like example.com/name; remove it with: pulumi config rm serviceAnnotations`},
		{"serviceAnnotations", `{"pulumi.com/skipAwait": "false"}`, `got "pulumi.com/skipAwait", expected another key than those that begin with pulumi.com/, which are the component's; remove it with: pulumi config rm serviceAnnotations`},
		{"externalTrafficPolicy", "local", `got "local", expected Cluster or Local; remove it with: pulumi config rm externalTrafficPolicy`},
		{"podAnnotations", `{"checksum/config": "x"}`, `got "checksum/config", expected another key than those that begin with checksum/, which are the component's; remove it with: pulumi config rm podAnnotations`},
		{"imagePullSecrets", "registry", `got "registry", expected a list of names; remove it with: pulumi config rm imagePullSecrets`},
		{"imagePullSecrets", `["My Registry"]`, `got "My Registry", ` + wantPullSecret},

		{"initScripts", `{"a/b.sql": ""}`, `got "a/b.sql", ` + wantScriptName},
		{"initScripts", `{"seed data.sql": ""}`, `got "seed data.sql", ` + wantScriptName},
		{"initScripts", `{"seed.sql.gz": ""}`, `got "seed.sql.gz", ` + wantScriptKind},
		{"initScripts", `{"seed": ""}`, `got "seed", ` + wantScriptKind},
		{"initScripts", `{"seed.sql": [1]}`, `got "{\"seed.sql\": [1]}", expected a map of file names and their content; remove it with: pulumi config rm initScripts`},
		{"initScripts", `{"seed.sql": "` + strings.Repeat("x", 900<<10) + `x"}`, `got "921601 bytes", expected at most 921600 bytes together; remove it with: pulumi config rm initScripts`},

		{"foo", "bar", `got "bar", ` + wantSetting + `foo`},
		{"Replicas", "1", `got "1", ` + wantSetting + `Replicas`},
	} {
		_, err := read(map[string]string{test.setting: test.value})
		require.EqualError(t, err, "1 setting is invalid, nothing was changed:\n  "+test.setting+": "+test.want,
			"%s: %q", test.setting, test.value)
		requireFixForPrograms(t, err)
	}
}

func TestNumbersAndBooleansInMapsAreTexts(t *testing.T) {
	t.Parallel()
	args, err := read(map[string]string{
		"resources": `{"limits": {"cpu": 2, "memory": "1Gi"}}`, "podAnnotations": `{"on": true, "large": 12345678901234567890}`,
	})
	require.NoError(t, err)
	require.Equal(t, Resources{Limits: Scalars{"cpu": "2", "memory": "1Gi"}}, args.Resources)
	require.Equal(t, Scalars{"on": "true", "large": "12345678901234567890"}, args.PodAnnotations)
}

// Pulumi makes a boolean or a number of what looks like one, wherever it stands.
func TestTextsInListsAndMapsMayLookLikeOthers(t *testing.T) {
	t.Parallel()
	args, err := read(map[string]string{
		"tolerations":      `[{"key": "db", "value": true, "effect": "NoExecute", "tolerationSeconds": 5}, {"key": "shard", "value": 7}]`,
		"nodeSelector":     `{"db": true, "shard": 7}`,
		"imagePullSecrets": `[7, true]`,
		"affinity": `{"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
			{"matchExpressions": [{"key": "db", "operator": "In", "values": [true, 1.50]}]}]}},
			"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "podAffinityTerm": {
				"topologyKey": "zone", "labelSelector": {"matchLabels": {"db": true}}}}]}}`,
	})
	require.NoError(t, err)
	require.Equal(t, []corev1.Toleration{
		{Key: "db", Value: "true", Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr(int64(5))}, {Key: "shard", Value: "7"},
	}, args.Tolerations)
	require.Equal(t, Scalars{"db": "true", "shard": "7"}, args.NodeSelector)
	require.Equal(t, []string{"7", "true"}, args.ImagePullSecrets)
	require.Equal(t, []string{"true", "1.50"},
		args.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchExpressions[0].Values)
	require.Equal(t, int32(5), args.Affinity.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].Weight)
	require.Equal(t, "true", args.Affinity.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].PodAffinityTerm.LabelSelector.MatchLabels["db"])
}

func TestInvalidParametersAreNamedByTheirPath(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ value, want string }{
		{`{"Port": 5433}`, `parameters.Port: got "5433", expected a parameter that the component does not set itself; remove it with: pulumi config rm --path parameters.Port`},
		{`{"listen_addresses": "localhost"}`, `parameters.listen_addresses: got "localhost", expected a parameter that the component does not set itself; remove it with: pulumi config rm --path parameters.listen_addresses`},
		{`{"password_encryption": "md5"}`, `parameters.password_encryption: got "md5", expected a parameter that the component does not set itself; remove it with: pulumi config rm --path parameters.password_encryption`},
		{`{"work_mem": "1MB\nport = 1"}`, `parameters.work_mem: got "1MB\nport = 1", expected a value without a line break or another control character; change it with: pulumi config set --path parameters.work_mem`},
	} {
		_, err := read(map[string]string{"parameters": test.value})
		require.EqualError(t, err, "1 setting is invalid, nothing was changed:\n  "+test.want)
		requireFixForPrograms(t, err)
	}
}

func TestInvalidResourcesAreNamedByTheirPath(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ value, want string }{
		{`{"requests": {"memory": "1GB"}}`, `resources.requests.memory: got "1GB", ` + wantQuantity + "requests.memory"},
		{`{"limits": {"cpu": "0"}}`, `resources.limits.cpu: got "0", ` + wantQuantity + "limits.cpu"},
		{`{"limits": {"disk": "1Gi"}}`, `resources.limits.disk: got "1Gi", expected cpu, memory, ephemeral-storage or hugepages-<size>; change it with: pulumi config set --path resources.limits.disk`},
		{`{"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}`, `resources.requests.memory: got "2Gi", expected at most the limit, 1Gi; change it with: pulumi config set --path resources.requests.memory`},
	} {
		_, err := read(map[string]string{"resources": test.value})
		require.EqualError(t, err, "1 setting is invalid, nothing was changed:\n  "+test.want)
		requireFixForPrograms(t, err)
	}
}

func TestInvalidSettingsAreReportedTogether(t *testing.T) {
	t.Parallel()
	_, err := read(map[string]string{
		"replicas": "two", "storage": "0", "serviceType": "ClusterIP", "nodePort": "30000", "unknown": "x",
	})
	var invalid *problem.Error
	require.ErrorAs(t, err, &invalid)
	var names []string
	for _, setting := range invalid.Problems {
		names = append(names, setting.Setting)
		require.NotContains(t, setting.Line(problem.CommandLine), "\n")
	}
	require.Equal(t, []string{"nodePort", "replicas", "storage", "unknown"}, names)
	require.Contains(t, err.Error(), `nodePort: got "30000", expected no node port with serviceType ClusterIP; `+
		`remove it with: pulumi config rm nodePort, or: pulumi config set serviceType NodePort`)
	require.True(t, strings.HasPrefix(err.Error(), "4 settings are invalid, nothing was changed:\n"))
}

func TestInvalidPasswordIsNotShown(t *testing.T) {
	t.Parallel()
	_, err := read(map[string]string{"password": "hunter2\n"})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestPasswordInPlainTextIsRefused(t *testing.T) {
	t.Parallel()
	config := map[string]string{"p:password": "hunter2"}
	args := FromConfig("p", config, func(key string) bool { return key != "p:password" })
	require.EqualError(t, invalid(args), "1 setting is invalid, nothing was changed:\n"+
		"  password: got one in plain text, expected a secret; set it with: pulumi config set --secret password")
	args = FromConfig("p", config, func(key string) bool { return key == "p:password" })
	require.NoError(t, invalid(args))
}

func TestSettingsOfOthersAreNotRead(t *testing.T) {
	t.Parallel()
	args := FromConfig("p", map[string]string{
		"kubernetes:context": "x", "other:replicas": "7", "pp:replicas": "8", "p:database": "shop",
	}, func(string) bool { return false })
	require.NoError(t, invalid(args))
	require.Equal(t, &Args{Database: "shop", reader: problem.CommandLine}, args)
}

func TestHighAvailability(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		config map[string]string
		want   string
	}{
		{config: map[string]string{"replicas": "0"}},
		{config: map[string]string{"replicas": "9", "synchronousStandbys": "8", "separateNodes": "true"}},
		{config: map[string]string{"replicas": "1"}},
		{config: map[string]string{"parameters": `{"synchronous_commit": "remote_apply", "max_connections": 50, "wal_level": "logical"}`}},
		{
			config: map[string]string{"replicas": "10"},
			want:   `replicas: got "10", expected 0 (stopped, data kept) to 9; set it with: pulumi config set replicas 1`,
		},
		{
			config: map[string]string{"replicas": "3", "synchronousStandbys": "3"},
			want:   `synchronousStandbys: got "3", expected 1 or more servers, and fewer than replicas; set it with: pulumi config set synchronousStandbys 1`,
		},
		{
			config: map[string]string{"replicas": "3", "synchronousStandbys": "0"},
			want:   `synchronousStandbys: got "0", expected 1 or more servers, and fewer than replicas; set it with: pulumi config set synchronousStandbys 1`,
		},
		{
			config: map[string]string{"replicas": "3", "initializeEmptyVolume": "true"},
			want: `initializeEmptyVolume: got "true", expected false with highAvailability, because other servers may have the rows, and an empty volume takes them from there; ` +
				`remove it with: pulumi config rm initializeEmptyVolume, or begin again without the old rows, from replicas 0: pulumi config set highAvailability false, with initializeEmptyVolume true`,
		},
		{
			config: map[string]string{"highAvailability": "false", "separateNodes": "true"},
			want:   `separateNodes: got "true", expected false without highAvailability; remove it with: pulumi config rm separateNodes`,
		},
		{
			config: map[string]string{"parameters": `{"synchronous_commit": "off"}`},
			want: `parameters.synchronous_commit: got "off", expected on or remote_apply with highAvailability, because with anything else an acknowledged write can be lost; ` +
				`remove it with: pulumi config rm --path parameters.synchronous_commit`,
		},
		{
			config: map[string]string{"parameters": `{"max_connections": 24}`},
			want: `parameters.max_connections: got "24", expected 25 or more with highAvailability, because Patroni takes no less; ` +
				`remove it with: pulumi config rm --path parameters.max_connections`,
		},
		{
			config: map[string]string{"parameters": `{"fsync": false}`},
			want: `parameters.fsync: got "false", expected on with highAvailability, because with anything else an acknowledged write can be lost; ` +
				`remove it with: pulumi config rm --path parameters.fsync`,
		},
		{
			config: map[string]string{"parameters": `{"Synchronous_Standby_Names": "*"}`},
			want: `parameters.Synchronous_Standby_Names: got "*", expected a parameter that Patroni does not set itself; ` +
				`remove it with: pulumi config rm --path parameters.Synchronous_Standby_Names`,
		},
	} {
		config := map[string]string{"highAvailability": "true"}
		maps.Copy(config, test.config)
		_, err := read(config)
		if test.want == "" {
			require.NoError(t, err, config)
			continue
		}
		require.EqualError(t, err, "1 setting is invalid, nothing was changed:\n  "+test.want)
	}
}
