package objects

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

	"stateful-postgres/components/internal/budget"
	"stateful-postgres/components/problem"
	"stateful-postgres/components/scripts"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// socketPath is where the official image has its socket.
const socketPath = "/var/run/postgresql"

// initScriptsPath is where the image looks for what its first start runs.
const initScriptsPath = "/docker-entrypoint-initdb.d"

// runSize limits what holds the server's socket.
const runSize = "16Mi"

// The socket inside the pod is how the server's role follows the Secret; everybody
// else comes over TCP and needs the password.
const (
	initdbArgumentsVariable = "POSTGRES_INITDB_ARGS"
	initdbArguments         = "--data-checksums --auth-local=trust --auth-host=scram-sha-256"
)

// podTemplate is the pod of one server. It passes the restricted Pod Security
// Standard.
func podTemplate(d Description, credentials, certificate *corev1.Secret) corev1.PodTemplateSpecArgs {
	annotations := pulumi.ToStringMap(d.Settings.PodAnnotations)
	annotations[contract.AnnotationChecksumPrefix+"config"] = pulumi.String(configDigest(d.Settings))
	if !d.Settings.HighAvailability {
		// Members take a new password over as they run.
		annotations[contract.AnnotationChecksumPrefix+"credentials"] = PasswordDigest(credentials)
	}
	if certificate != nil {
		annotations[contract.AnnotationChecksumPrefix+"authority"] = authorityDigest(d, certificate)
	}

	pod := podBase(d)
	pod.Affinity = d.affinity
	pod.TerminationGracePeriodSeconds = pulumi.Int(budget.Seconds(d.Settings.ShutdownTimeout))
	pod.Containers = corev1.ContainerArray{container(d)}
	if d.Settings.FixVolumeOwner {
		pod.InitContainers = corev1.ContainerArray{ownerContainer(d, resourceRequirements(d.Settings.Resources),
			script(scripts.Owner, ownerArguments(d)...), mount("scripts", contract.ScriptsPath, true))}
	}
	pod.Volumes = volumes(d)
	labels := contract.ObjectLabels()
	if d.Settings.HighAvailability {
		maps.Copy(labels, contract.MembersLabels())
		pod.TopologySpreadConstraints = spread(d.Settings)
	}
	return corev1.PodTemplateSpecArgs{
		Metadata: metav1.ObjectMetaArgs{Labels: pulumi.ToStringMap(labels), Annotations: annotations},
		Spec:     pod,
	}
}

// podBase is what all pods of the component have in common: who they are, and
// where they may run.
func podBase(d Description) corev1.PodSpecArgs {
	return corev1.PodSpecArgs{
		NodeSelector:      optionalStringMap(d.Settings.NodeSelector),
		Tolerations:       d.tolerations,
		PriorityClassName: OptionalString(d.Settings.PriorityClassName),
		ImagePullSecrets:  d.pullSecrets(),

		ServiceAccountName:           pulumi.String(contract.ServiceAccount),
		AutomountServiceAccountToken: pulumi.Bool(false),
		// The variables of a Service named postgres begin with POSTGRES_, like the
		// image's own.
		EnableServiceLinks: pulumi.Bool(false),
		SecurityContext:    podSecurity(d.Settings),
	}
}

// liveness looks for a minute before it ends a container. Members are looked at less
// often: Patroni itself looks after the server.
func liveness(d Description) corev1.ProbeArgs {
	if d.Settings.HighAvailability {
		return probe(script(scripts.Alive), 20*time.Second, 3)
	}
	return probe(script(scripts.Alive), 10*time.Second, 6)
}

// volumes are the pod's volumes besides the claim's.
func volumes(d Description) corev1.VolumeArray {
	var keys []string
	if d.Settings.HighAvailability {
		keys = []string{contract.DigestKey}
	}
	volumes := corev1.VolumeArray{
		// The entrypoint finds init/postgres on its PATH.
		files("scripts", 0o555, scriptFiles(d.Settings)),
		credentialsVolume(false, keys...),
		corev1.VolumeArgs{
			Name: pulumi.String("marker"),
			ConfigMap: corev1.ConfigMapVolumeSourceArgs{
				Name:     pulumi.String(contract.Marker),
				Optional: pulumi.Bool(true),
			},
		},
		memory("shared-memory", canonicalQuantity(d.Settings.ShmSize)),
		memory("run", runSize),
		empty("tmp"),
	}
	if d.Settings.TLS {
		volumes = append(volumes, certificateVolume(d.Settings))
	}
	if d.Settings.HighAvailability {
		volumes = append(volumes, accountVolume(), membersVolume())
	}
	if len(d.Settings.InitScripts) > 0 {
		var items corev1.KeyToPathArray
		for _, name := range slices.Sorted(maps.Keys(d.Settings.InitScripts)) {
			items = append(items, fileOf(settings.InitScriptPrefix+name, name))
		}
		// Not executable: the image sources such a script, and its functions
		// are at the script's disposal.
		volumes = append(volumes, files("init-scripts", 0o444, items))
	}
	return volumes
}

func mounts(d Description) corev1.VolumeMountArray {
	mounts := corev1.VolumeMountArray{
		mount(contract.ClaimTemplate, contract.VolumePath, false),
		mount("scripts", contract.ScriptsPath, true),
		mount("credentials", contract.CredentialsPath, true),
		mount("marker", contract.MarkerPath, true),
		mount("shared-memory", "/dev/shm", false),
		mount("run", socketPath, false),
		mount("tmp", "/tmp", false),
	}
	if d.Settings.TLS {
		mounts = append(mounts, mount("tls", contract.TLSPath, true))
	}
	if d.Settings.HighAvailability {
		mounts = append(mounts, mount("account", contract.AccountPath, true), mount("members", contract.MembersPath, true))
	}
	if len(d.Settings.InitScripts) > 0 {
		mounts = append(mounts, mount("init-scripts", initScriptsPath, true))
	}
	return mounts
}

func container(d Description) corev1.ContainerArgs {
	return corev1.ContainerArgs{
		Name:         pulumi.String(contract.Container),
		Image:        pulumi.String(d.Settings.Image),
		Command:      script(scripts.Start, serverArguments(d.Settings)...),
		Ports:        containerPorts(d.Settings),
		Env:          environment(d),
		VolumeMounts: mounts(d),
		Resources:    resourceRequirements(d.Settings.Resources),
		// A startup probe would come between the server's first answer and its
		// readiness: the kubelet looks at the next probe up to a second after its
		// success. The liveness probe waits for the first readiness by itself, so
		// that it cannot end a recovery. A run of the readiness probe takes some
		// seconds, whatever the period.
		ReadinessProbe: probe(script(scripts.Ready), time.Second, 3),
		LivenessProbe:  liveness(d),
		Lifecycle: corev1.LifecycleArgs{
			PreStop: corev1.LifecycleHandlerArgs{
				Exec: corev1.ExecActionArgs{
					Command: script(scripts.Checkpoint, strconv.Itoa(budget.Seconds(budget.Budget{Shutdown: d.Settings.ShutdownTimeout}.Checkpoint()))),
				},
			},
		},
		SecurityContext: containerSecurity(),
		// The last lines of the log say why a container ended; with this they
		// are in the pod's status, where an update shows them.
		TerminationMessagePolicy: pulumi.String("FallbackToLogsOnError"),
	}
}

func containerPorts(a settings.Args) corev1.ContainerPortArray {
	port := func(name string, number int) corev1.ContainerPortArgs {
		return corev1.ContainerPortArgs{Name: pulumi.String(name), ContainerPort: pulumi.Int(number), Protocol: pulumi.String("TCP")}
	}
	ports := corev1.ContainerPortArray{port(contract.PortName, contract.Port)}
	if a.HighAvailability {
		ports = append(ports, port(contract.MembersPortName, contract.MembersPort))
	}
	return ports
}

func environment(d Description) corev1.EnvVarArray {
	variables := corev1.EnvVarArray{
		fromConfigMap(contract.DatabaseKey, contract.DatabaseKey),
		fromConfigMap(contract.UserKey, contract.UserKey),
		// A client asks for the name of the user that it runs as, unless it is told
		// one, and in the image that user need not have one.
		fromConfigMap("PGUSER", contract.UserKey),
		env(contract.PasswordFileVariable, path.Join(contract.CredentialsPath, contract.PasswordKey)),
		env("PGDATA", contract.DataPath),
		env("RELOADED_FILES", strings.Join(reloadedFiles(d.Settings), " ")),
		env("DATA_EXPECTED", contract.MarkerPath),
		// Who lives on the volume: the pod that waits for this one says it.
		fromPod("POD_NAME", "metadata.name"),
		fromPod("POD_UID", "metadata.uid"),
		fromPod("NODE_NAME", "spec.nodeName"),
		env(initdbArgumentsVariable, initdbArguments),
		env("POSTGRES_HOST_AUTH_METHOD", "scram-sha-256"),
	}
	variables = append(variables, advice(d.Settings)...)
	if d.Settings.HighAvailability {
		variables = append(variables,
			env("HIGH_AVAILABILITY", "true"),
			fromPod("POD_IP", "status.podIP"),
			env("PATRONI_CONFIG", path.Join(contract.ScriptsPath, patroniFile)),
			env("NAMESPACE", d.Settings.Namespace),
			env("ACCOUNT", contract.AccountPath),
			env("MEMBERS", contract.MembersScope),
			env("MEMBERS_LABEL", contract.LabelMembers+"="+contract.MembersScope),
			env("MEMBERS_SECRET", contract.MembersPath),
			env("REPLICATION_USER", contract.ReplicationUser),
			env("STATEFUL_SET", contract.StatefulSet),
		)
	}
	if d.Settings.InitializeEmptyVolume {
		variables = append(variables, env(initializeVariable, "true"))
	}
	return variables
}

// advice is what to do about a start that failed, in words for whoever sets the
// settings; the scripts put it into the pod's log.
func advice(a settings.Args) corev1.EnvVarArray {
	variables := corev1.EnvVarArray{}
	for _, of := range []struct {
		name     string
		remedies []problem.Remedy
	}{
		{"SET_USER", []problem.Remedy{problem.Choosing("user", "set the one that it has")}},
		{"SET_DATABASE", []problem.Remedy{problem.Choosing("database", "set one that it has")}},
		{"BEGIN_AGAIN", beginAgain(a)},
		{"MEMBERS_ON", []problem.Remedy{problem.Setting("highAvailability", "true", "Switch it on:")}},
		{"FIX_OWNER", []problem.Remedy{problem.Setting("fixVolumeOwner", "true", "Have it given to this user:")}},
	} {
		var texts []string
		for _, remedy := range of.remedies {
			texts = append(texts, remedy.Text(a.Reader()))
		}
		variables = append(variables, env(of.name, strings.Join(texts, ", or ")))
	}
	return variables
}

// beginAgain is what to do about a volume that is lost. With highAvailability an
// empty one never begins by itself: other volumes may have rows.
func beginAgain(a settings.Args) []problem.Remedy {
	if a.HighAvailability {
		return []problem.Remedy{settings.GoOnWith(a.Namespace), settings.BeginAlone()}
	}
	return []problem.Remedy{problem.Setting("initializeEmptyVolume", "true", "begin again without the old rows:")}
}
