package components

import (
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

const (
	containerName = "postgres"

	// postgresID is the user and group of the server in the official image.
	postgresID = 999

	// volumePath is none of the paths that any release of the official image
	// declares as a volume or looks for old data in.
	volumePath = "/var/lib/postgredb"
	// dataPath is a directory below the mount: the root of a volume may hold
	// lost+found, and belongs to root.
	dataPath = volumePath + "/pgdata"

	scriptsPath     = "/etc/stateful-postgres"
	credentialsPath = "/run/secrets/postgres"

	// initScriptsPath is where the image looks for what its first start runs.
	initScriptsPath = "/docker-entrypoint-initdb.d"

	// checksumPrefix begins the annotations that replace a pod when what it
	// reads has changed.
	checksumPrefix = "checksum/"
)

// podTemplate is the pod of one server. It passes the restricted Pod Security
// Standard.
func (p *Postgres) podTemplate() (corev1.PodTemplateSpecArgs, error) {
	scheduling, err := p.args.scheduling()
	if err != nil {
		return corev1.PodTemplateSpecArgs{}, err
	}
	annotations := pulumi.ToStringMap(p.args.PodAnnotations)
	annotations[checksumPrefix+"config"] = pulumi.String(p.configDigest)
	annotations[checksumPrefix+"credentials"] = p.passwordDigest()
	if p.tlsSecret != nil {
		annotations[checksumPrefix+"authority"] = p.authorityDigest()
	}

	return corev1.PodTemplateSpecArgs{
		Metadata: metav1.ObjectMetaArgs{Labels: objectLabels(), Annotations: annotations},
		Spec: corev1.PodSpecArgs{
			NodeSelector:      optionalStringMap(p.args.NodeSelector),
			Tolerations:       scheduling.tolerations,
			Affinity:          scheduling.affinity,
			PriorityClassName: optionalString(p.args.PriorityClassName),
			ImagePullSecrets:  p.args.pullSecrets(),

			ServiceAccountName:           pulumi.String(serviceAccountName),
			AutomountServiceAccountToken: pulumi.Bool(false),
			// The variables of a Service named postgres begin with POSTGRES_,
			// like the image's own.
			EnableServiceLinks:            pulumi.Bool(false),
			TerminationGracePeriodSeconds: pulumi.Int(seconds(p.args.ShutdownTimeout)),
			SecurityContext:               podSecurity(),
			Containers:                    corev1.ContainerArray{p.container()},
			Volumes:                       p.volumes(),
		},
	}, nil
}

// volumes are the pod's volumes besides the claim's.
func (p *Postgres) volumes() corev1.VolumeArray {
	volumes := corev1.VolumeArray{
		// The entrypoint finds init/postgres on its PATH.
		files("scripts", 0o555, scriptFiles()),
		corev1.VolumeArgs{
			Name: pulumi.String("credentials"),
			Secret: corev1.SecretVolumeSourceArgs{
				SecretName: pulumi.String(secretName),
				Items:      corev1.KeyToPathArray{fileOf(passwordKey, passwordKey)},
				// Read by the group alone, which fsGroup makes the server's.
				DefaultMode: pulumi.Int(0o440),
			},
		},
		corev1.VolumeArgs{
			Name: pulumi.String("marker"),
			ConfigMap: corev1.ConfigMapVolumeSourceArgs{
				Name:     pulumi.String(markerName),
				Optional: pulumi.Bool(true),
			},
		},
		memory("shared-memory", canonicalQuantity(p.args.ShmSize)),
		memory("run", "16Mi"),
		corev1.VolumeArgs{Name: pulumi.String("tmp"), EmptyDir: corev1.EmptyDirVolumeSourceArgs{}},
	}
	if p.args.TLS {
		volumes = append(volumes, p.args.tlsVolume())
	}
	if len(p.args.InitScripts) > 0 {
		var items corev1.KeyToPathArray
		for _, name := range slices.Sorted(maps.Keys(p.args.InitScripts)) {
			items = append(items, fileOf(initScriptPrefix+name, name))
		}
		// Not executable: the image sources such a script, and its functions
		// are at the script's disposal.
		volumes = append(volumes, files("init-scripts", 0o444, items))
	}
	return volumes
}

func (p *Postgres) mounts() corev1.VolumeMountArray {
	mounts := corev1.VolumeMountArray{
		mount(claimTemplateName, volumePath, false),
		mount("scripts", scriptsPath, true),
		mount("credentials", credentialsPath, true),
		mount("marker", markerPath, true),
		mount("shared-memory", "/dev/shm", false),
		mount("run", "/var/run/postgresql", false),
		mount("tmp", "/tmp", false),
	}
	if p.args.TLS {
		mounts = append(mounts, mount("tls", tlsPath, true))
	}
	if len(p.args.InitScripts) > 0 {
		mounts = append(mounts, mount("init-scripts", initScriptsPath, true))
	}
	return mounts
}

func (p *Postgres) container() corev1.ContainerArgs {
	return corev1.ContainerArgs{
		Name:    pulumi.String(containerName),
		Image:   pulumi.String(p.args.Image),
		Command: script(startScript, p.args.serverArguments()...),
		Ports: corev1.ContainerPortArray{
			corev1.ContainerPortArgs{
				Name:          pulumi.String(portName),
				ContainerPort: pulumi.Int(serverPort),
				Protocol:      pulumi.String("TCP"),
			},
		},
		Env:          p.environment(),
		VolumeMounts: p.mounts(),
		Resources:    p.args.resourceRequirements(),
		// The startup probe holds back the other two, so that neither can end a
		// recovery.
		StartupProbe:   probe(script(startedScript), time.Second, recoveryTimeout),
		ReadinessProbe: probe(script(readyScript), 5*time.Second, 15*time.Second),
		LivenessProbe:  probe(script(aliveScript), 10*time.Second, time.Minute),
		Lifecycle: corev1.LifecycleArgs{
			PreStop: corev1.LifecycleHandlerArgs{
				Exec: corev1.ExecActionArgs{
					Command: script(checkpointScript, strconv.Itoa(seconds(budget{p.args.ShutdownTimeout}.checkpoint()))),
				},
			},
		},
		SecurityContext: containerSecurity(),
		// The last lines of the log say why a container ended; with this they
		// are in the pod's status, where an update shows them.
		TerminationMessagePolicy: pulumi.String("FallbackToLogsOnError"),
	}
}

func (p *Postgres) environment() corev1.EnvVarArray {
	variables := corev1.EnvVarArray{
		fromConfigMap(databaseKey),
		fromConfigMap(userKey),
		env("POSTGRES_PASSWORD_FILE", path.Join(credentialsPath, passwordKey)),
		env("PGDATA", dataPath),
		env("RELOADED_FILES", strings.Join(p.args.reloadedFiles(), " ")),
		env("DATA_EXPECTED", markerPath),
		// The socket inside the pod is how the server's role follows the
		// Secret; everybody else comes over TCP and needs the password.
		env("POSTGRES_INITDB_ARGS", "--data-checksums --auth-local=trust --auth-host=scram-sha-256"),
		env("POSTGRES_HOST_AUTH_METHOD", "scram-sha-256"),
	}
	if p.args.InitializeEmptyVolume {
		variables = append(variables, env(initializeVariable, "true"))
	}
	return variables
}

func podSecurity() corev1.PodSecurityContextArgs {
	return corev1.PodSecurityContextArgs{
		RunAsNonRoot:        pulumi.Bool(true),
		RunAsUser:           pulumi.Int(postgresID),
		RunAsGroup:          pulumi.Int(postgresID),
		FsGroup:             pulumi.Int(postgresID),
		FsGroupChangePolicy: pulumi.String("OnRootMismatch"),
		SeccompProfile:      corev1.SeccompProfileArgs{Type: pulumi.String("RuntimeDefault")},
	}
}

func containerSecurity() corev1.SecurityContextArgs {
	return corev1.SecurityContextArgs{
		AllowPrivilegeEscalation: pulumi.Bool(false),
		ReadOnlyRootFilesystem:   pulumi.Bool(true),
		Capabilities:             corev1.CapabilitiesArgs{Drop: pulumi.ToStringArray([]string{"ALL"})},
	}
}

// probe runs a command every period, and gives up after failing for the limit.
func probe(command pulumi.StringArrayInput, period, limit time.Duration) corev1.ProbeArgs {
	return corev1.ProbeArgs{
		Exec:             corev1.ExecActionArgs{Command: command},
		PeriodSeconds:    pulumi.Int(seconds(period)),
		TimeoutSeconds:   pulumi.Int(seconds(probeTimeout)),
		FailureThreshold: pulumi.Int(int(limit / period)),
	}
}

func script(name string, args ...string) pulumi.StringArray {
	return pulumi.ToStringArray(append([]string{"/bin/sh", path.Join(scriptsPath, name)}, args...))
}

// scriptFiles are the scripts and the server's own configuration files.
func scriptFiles() corev1.KeyToPathArray {
	var files corev1.KeyToPathArray
	for _, path := range scriptPaths {
		files = append(files, fileOf(scriptKey(path), path))
	}
	return append(files, fileOf(configFile, configFile), fileOf(accessFile, accessFile))
}

func fileOf(key, path string) corev1.KeyToPathArgs {
	return corev1.KeyToPathArgs{Key: pulumi.String(key), Path: pulumi.String(path)}
}

func env(name, value string) corev1.EnvVarArgs {
	return corev1.EnvVarArgs{Name: pulumi.String(name), Value: pulumi.String(value)}
}

func fromConfigMap(key string) corev1.EnvVarArgs {
	return corev1.EnvVarArgs{
		Name: pulumi.String(key),
		ValueFrom: corev1.EnvVarSourceArgs{
			ConfigMapKeyRef: corev1.ConfigMapKeySelectorArgs{
				Name: pulumi.String(configMapName),
				Key:  pulumi.String(key),
			},
		},
	}
}

// files is a volume of keys of the ConfigMap.
func files(name string, mode int, items corev1.KeyToPathArray) corev1.VolumeArgs {
	return corev1.VolumeArgs{
		Name: pulumi.String(name),
		ConfigMap: corev1.ConfigMapVolumeSourceArgs{
			Name:        pulumi.String(configMapName),
			Items:       items,
			DefaultMode: pulumi.Int(mode),
		},
	}
}

// memory is a volume in memory, which counts towards the pod's.
func memory(name, limit string) corev1.VolumeArgs {
	return corev1.VolumeArgs{
		Name: pulumi.String(name),
		EmptyDir: corev1.EmptyDirVolumeSourceArgs{
			Medium:    pulumi.String("Memory"),
			SizeLimit: pulumi.String(limit),
		},
	}
}

func mount(name, path string, readOnly bool) corev1.VolumeMountArgs {
	args := corev1.VolumeMountArgs{Name: pulumi.String(name), MountPath: pulumi.String(path)}
	if readOnly {
		args.ReadOnly = pulumi.Bool(true)
	}
	return args
}
