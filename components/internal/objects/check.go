package objects

import (
	"fmt"
	"maps"
	"path"
	"strconv"
	"strings"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/api/resource"

	"stateful-postgres/components/internal/budget"
	"stateful-postgres/components/problem"
	"stateful-postgres/components/scripts"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// Check is a Job in which a server of the image starts with everything that the
// next one will have but the data, and lets a client in. Only a server that runs
// knows which settings it can run with; with the Job an update learns it while the
// old server runs on with the old ones. It runs again when anything of it has
// changed, and when it failed: what kept it from running may have passed.
func Check(d Description) Object[batchv1.JobArgs] {
	object := Object[batchv1.JobArgs]{
		Title: "job " + contract.CheckJob, Suffix: "-check",
		Options: []pulumi.ResourceOption{
			pulumi.ReplaceOnChanges([]string{"spec"}), pulumi.DeleteBeforeReplace(true),
			pulumi.Timeouts(&pulumi.CustomTimeouts{Create: fmt.Sprintf("%ds", budget.Seconds(budget.Check))}),
		},
	}
	if d.Observed.Rendering {
		// Files are applied all at once, and a Job only once.
		return object
	}
	metadata := d.metadata(contract.CheckJob, map[string]string{contract.AnnotationReplaceUnready: "true"})
	metadata.Labels = pulumi.ToStringMap(checkLabels())
	object.Args = &batchv1.JobArgs{
		Metadata: metadata,
		Spec: batchv1.JobSpecArgs{
			BackoffLimit:          pulumi.Int(0),
			ActiveDeadlineSeconds: pulumi.Int(budget.Seconds(budget.Check)),
			Template: corev1.PodTemplateSpecArgs{
				Metadata: metav1.ObjectMetaArgs{Labels: pulumi.ToStringMap(checkLabels()), Annotations: optionalStringMap(d.Settings.PodAnnotations)},
				Spec:     checkPod(d),
			},
		},
	}
	return object
}

// checkLabels are not those of the server: whoever counts its pods must not find
// this one.
func checkLabels() map[string]string {
	return map[string]string{
		contract.LabelName:      contract.CheckJob,
		contract.LabelManagedBy: contract.ManagedByValue,
	}
}

func checkPod(d Description) corev1.PodSpecArgs {
	pod := podBase(d)
	pod.RestartPolicy = pulumi.String("Never")
	pod.Affinity = d.checkAffinity
	pod.Volumes = corev1.VolumeArray{
		empty("config"), empty(contract.ClaimTemplate), empty("init-scripts"),
		credentialsVolume(true),
		memory("shared-memory", canonicalQuantity(d.Settings.ShmSize)), memory("run", runSize), empty("tmp"),
	}
	mounts := corev1.VolumeMountArray{
		// The ConfigMap still holds what the running server has.
		mount("config", contract.ScriptsPath, false),
		mount(contract.ClaimTemplate, contract.VolumePath, false),
		// What the image itself would run at a first start is not for here.
		mount("init-scripts", initScriptsPath, true),
		mount("credentials", contract.CredentialsPath, true),
		mount("shared-memory", "/dev/shm", false),
		mount("run", "/var/run/postgresql", false),
		mount("tmp", "/tmp", false),
	}
	if d.Settings.TLS {
		pod.Volumes = append(pod.Volumes.(corev1.VolumeArray), certificateVolume(d.Settings))
		mounts = append(mounts, mount("tls", contract.TLSPath, true))
	}
	if d.Settings.FixVolumeOwner {
		// Whether it is admitted has to be known before a server is stopped for it.
		pod.InitContainers = corev1.ContainerArray{ownerContainer(d, checkResources(d.Settings), inlineScript(scripts.Owner, ownerArguments(d)...))}
	}
	pod.Containers = corev1.ContainerArray{corev1.ContainerArgs{
		Name:                     pulumi.String(contract.CheckContainer),
		Image:                    pulumi.String(d.Settings.Image),
		Command:                  inlineScript(scripts.Check, serverArguments(alone(d.Settings))...),
		Env:                      checkEnvironment(d),
		VolumeMounts:             mounts,
		Resources:                checkResources(d.Settings),
		SecurityContext:          containerSecurity(),
		TerminationMessagePolicy: pulumi.String("FallbackToLogsOnError"),
	}}
	return pod
}

func checkEnvironment(d Description) corev1.EnvVarArray {
	reader := d.Settings.Reader()
	change, remove := problem.ChangeEntry("parameters.NAME"), problem.RemoveEntry("parameters.NAME")
	change.Do, remove.Do = "Correct a parameter", "or remove it"
	user := problem.Choosing("runAsUser", "Run as it:")
	sslMode := "prefer"
	if d.Settings.TLS {
		sslMode = "require"
	}
	hugePages := resource.Quantity{}
	for name, limit := range d.Settings.Resources.Limits {
		if strings.HasPrefix(name, "hugepages-") {
			hugePages.Add(resource.MustParse(limit))
		}
	}
	variables := corev1.EnvVarArray{
		env("CONFIG", serverConfig(alone(d.Settings))),
		env("ACCESS", access(d.Settings)),
		env("CONFIG_FOLDER", contract.ScriptsPath),
		env("INIT_SERVER", scripts.Text(scripts.InitServer)),
		env("PGDATA", contract.DataPath),
		env(contract.DatabaseKey, d.Settings.Database),
		env(contract.UserKey, d.Settings.User),
		env(contract.PasswordFileVariable, path.Join(contract.CredentialsPath, contract.PasswordKey)),
		env(initdbArgumentsVariable, initdbArguments),
		env("RUNNING_SERVER", contract.Service),
		env("CLIENT_SSLMODE", sslMode),
		// The limit, or without one what the node has for its pods.
		corev1.EnvVarArgs{Name: pulumi.String("MEMORY"), ValueFrom: corev1.EnvVarSourceArgs{
			ResourceFieldRef: corev1.ResourceFieldSelectorArgs{Resource: pulumi.String("limits.memory")},
		}},
		env("HUGE_PAGES", strconv.FormatInt(hugePages.Value(), 10)),
		env("CORRECT", change.Text(reader)+", "+remove.Text(reader)),
		env("RUN_AS_IT", user.Text(reader)),
	}
	if d.Settings.HighAvailability {
		variables = append(variables, env("MIN_PATRONI", settings.MinPatroni))
	}
	return variables
}

// alone are the settings of a server that starts without Patroni: it gets as
// arguments what Patroni would hand to it.
func alone(a settings.Args) settings.Args {
	a.HighAvailability = false
	return a
}

// What the check needs at most beside its limits, which are the server's. Its
// database lies where the server has nothing.
var (
	checkRequests = map[string]resource.Quantity{
		"cpu": resource.MustParse("100m"), "memory": resource.MustParse("128Mi"),
	}
	checkStorage = resource.MustParse("256Mi")
)

// checkResources are the server's limits, which decide whether it can run, and no
// larger requests than the check has use for: on a node that is as large as the
// server asks for, both have to find room.
func checkResources(a settings.Args) corev1.ResourceRequirementsPtrInput {
	requests, limits := settings.Scalars{}, settings.Scalars{}
	maps.Copy(limits, a.Resources.Limits)
	// Kubernetes takes the limit for a request that is not there.
	maps.Copy(requests, a.Resources.Limits)
	maps.Copy(requests, a.Resources.Requests)
	for name, enough := range checkRequests {
		if asked, set := requests[name]; set && enough.Cmp(resource.MustParse(asked)) < 0 {
			requests[name] = enough.String()
		}
	}
	const disk = "ephemeral-storage"
	if limit, set := limits[disk]; set && checkStorage.Cmp(resource.MustParse(limit)) > 0 {
		limits[disk] = checkStorage.String()
	}
	return resourceRequirements(settings.Resources{Requests: requests, Limits: limits})
}
