package objects

import (
	"encoding/json"
	"path"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/components/scripts"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// patroniFile is Patroni's configuration, below contract.ScriptsPath. member.py
// adds to it what only the pod knows: its name and address, and the passwords.
const patroniFile = "patroni.json"

// patroniFolder is where Patroni keeps its own postgresql.conf. On the volume it
// would exchange the one that initdb made.
const patroniFolder = "/tmp/patroni"

// patroniConfig is the part of Patroni's configuration that all members have
// alike and that it does not take from MembersConfig.
func patroniConfig(a settings.Args) string {
	// While TLS is switched on, a standby that has it follows a primary that does not
	// have it yet.
	sslMode := "prefer"
	if a.RequireTLS {
		sslMode = "require"
	}
	login := map[string]any{"username": contract.ReplicationUser, "sslmode": sslMode}
	text, err := json.MarshalIndent(map[string]any{
		"scope": contract.MembersScope,
		"kubernetes": map[string]any{
			"namespace":          a.Namespace,
			"labels":             contract.SelectorLabels(),
			"scope_label":        contract.LabelMembers,
			"role_label":         contract.LabelRole,
			"leader_label_value": contract.RolePrimary, "standby_leader_label_value": contract.RolePrimary,
			"follower_label_value": contract.RoleReplica,
			// Kubernetes itself removes Endpoints that belong to no Service, and with
			// them who may take the writes.
			"use_endpoints": false,
		},
		"postgresql": map[string]any{
			"data_dir": contract.DataPath, "config_dir": patroniFolder,
			"custom_conf":     path.Join(contract.ScriptsPath, configFile),
			"use_unix_socket": true,
			"pgpass":          path.Join(socketPath, "pgpass"),
			"authentication": map[string]any{
				"superuser":   map[string]any{"username": a.User},
				"replication": login, "rewind": login,
			},
			// The same as on the server's command line, or a reload would complain.
			"parameters": map[string]any{
				"unix_socket_directories": socketPath,
				"hba_file":                path.Join(contract.ScriptsPath, accessFile),
				"ident_file":              path.Join(contract.DataPath, "pg_ident.conf"),
			},
			"callbacks":              map[string]any{"on_role_change": "python3 " + path.Join(contract.ScriptsPath, scripts.Members) + " changed"},
			"create_replica_methods": []string{"basebackup"},
			"basebackup":             []any{map[string]any{"checkpoint": "fast"}},
		},
	}, "", "  ")
	if err != nil {
		// A map of texts and truth values.
		panic(err)
	}
	return string(text) + "\n"
}

// accountVolume is the token with which Patroni talks to the API server. Only the
// container that mounts it has one.
func accountVolume() corev1.VolumeArgs {
	return corev1.VolumeArgs{
		Name: pulumi.String("account"),
		Projected: corev1.ProjectedVolumeSourceArgs{
			DefaultMode: pulumi.Int(0o440),
			Sources: corev1.VolumeProjectionArray{
				corev1.VolumeProjectionArgs{ServiceAccountToken: corev1.ServiceAccountTokenProjectionArgs{
					Path: pulumi.String("token"), ExpirationSeconds: pulumi.Int(3607),
				}},
				corev1.VolumeProjectionArgs{ConfigMap: corev1.ConfigMapProjectionArgs{
					Name: pulumi.String("kube-root-ca.crt"), Items: corev1.KeyToPathArray{fileOf("ca.crt", "ca.crt")},
				}},
			},
		},
	}
}

// membersVolume holds the passwords that the members use among themselves.
func membersVolume() corev1.VolumeArgs {
	return corev1.VolumeArgs{Name: pulumi.String("members"), Secret: corev1.SecretVolumeSourceArgs{
		SecretName: pulumi.String(contract.MembersSecret), DefaultMode: pulumi.Int(0o440),
	}}
}

// spread puts the servers on nodes of their own, as far as there are enough.
func spread(a settings.Args) corev1.TopologySpreadConstraintArray {
	if !a.HighAvailability {
		return nil
	}
	otherwise := "ScheduleAnyway"
	if a.SeparateNodes {
		otherwise = "DoNotSchedule"
	}
	return corev1.TopologySpreadConstraintArray{corev1.TopologySpreadConstraintArgs{
		MaxSkew: pulumi.Int(1), TopologyKey: pulumi.String("kubernetes.io/hostname"), WhenUnsatisfiable: pulumi.String(otherwise),
		LabelSelector: metav1.LabelSelectorArgs{MatchLabels: selectorLabels()},
	}}
}
