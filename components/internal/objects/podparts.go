package objects

import (
	"path"
	"strings"
	"time"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/api/resource"

	"stateful-postgres/components/internal/budget"
	"stateful-postgres/components/scripts"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

func podSecurity(a settings.Args) corev1.PodSecurityContextArgs {
	user := pulumi.Int(*a.RunAsUser)
	return corev1.PodSecurityContextArgs{
		RunAsNonRoot:        pulumi.Bool(true),
		RunAsUser:           user,
		RunAsGroup:          user,
		FsGroup:             user,
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

// probe runs a command every period, and gives up when it has failed some times
// in a row.
func probe(command pulumi.StringArrayInput, period time.Duration, failures int) corev1.ProbeArgs {
	return corev1.ProbeArgs{
		Exec:             corev1.ExecActionArgs{Command: command},
		PeriodSeconds:    pulumi.Int(budget.Seconds(period)),
		TimeoutSeconds:   pulumi.Int(budget.Seconds(budget.Probe)),
		FailureThreshold: pulumi.Int(failures),
	}
}

func script(name string, args ...string) pulumi.StringArray {
	return pulumi.ToStringArray(append([]string{"/bin/sh", path.Join(contract.ScriptsPath, name)}, args...))
}

// inlineScript runs a script in a pod that is there before the ConfigMap.
func inlineScript(name string, args ...string) pulumi.StringArray {
	return pulumi.ToStringArray(append([]string{"/bin/sh", "-c", scripts.Text(name), name}, args...))
}

// scriptFiles are the scripts and the server's own configuration files.
func scriptFiles(a settings.Args) corev1.KeyToPathArray {
	var files corev1.KeyToPathArray
	for _, path := range serverScripts(a) {
		files = append(files, fileOf(scripts.Key(path), path))
	}
	files = append(files, fileOf(configFile, configFile), fileOf(accessFile, accessFile))
	if a.HighAvailability {
		files = append(files, fileOf(patroniFile, patroniFile))
	}
	return files
}

// serverScripts are the scripts that the server's pod needs.
func serverScripts(a settings.Args) []string {
	if a.HighAvailability {
		return append(scripts.OfTheServer(), scripts.OfAMember()...)
	}
	return scripts.OfTheServer()
}

func fileOf(key, path string) corev1.KeyToPathArgs {
	return corev1.KeyToPathArgs{Key: pulumi.String(key), Path: pulumi.String(path)}
}

// env is a variable with a value that is taken as it is: Kubernetes itself would
// take $(NAME) for another variable.
func env(name, value string) corev1.EnvVarArgs {
	return corev1.EnvVarArgs{Name: pulumi.String(name), Value: pulumi.String(strings.ReplaceAll(value, "$", "$$"))}
}

func fromConfigMap(name, key string) corev1.EnvVarArgs {
	return corev1.EnvVarArgs{
		Name: pulumi.String(name),
		ValueFrom: corev1.EnvVarSourceArgs{
			ConfigMapKeyRef: corev1.ConfigMapKeySelectorArgs{
				Name: pulumi.String(contract.ConfigMap),
				Key:  pulumi.String(key),
			},
		},
	}
}

// fromPod is a variable with the value of a field of the pod itself.
func fromPod(name, field string) corev1.EnvVarArgs {
	return corev1.EnvVarArgs{
		Name: pulumi.String(name),
		ValueFrom: corev1.EnvVarSourceArgs{
			FieldRef: corev1.ObjectFieldSelectorArgs{ApiVersion: pulumi.String("v1"), FieldPath: pulumi.String(field)},
		},
	}
}

// files is a volume of keys of the ConfigMap.
func files(name string, mode int, items corev1.KeyToPathArray) corev1.VolumeArgs {
	return corev1.VolumeArgs{
		Name: pulumi.String(name),
		ConfigMap: corev1.ConfigMapVolumeSourceArgs{
			Name:        pulumi.String(contract.ConfigMap),
			Items:       items,
			DefaultMode: pulumi.Int(mode),
		},
	}
}

// credentialsVolume holds the password, and the values of further keys. Where the
// Secret need not exist yet, it is optional.
func credentialsVolume(optional bool, keys ...string) corev1.VolumeArgs {
	items := corev1.KeyToPathArray{fileOf(contract.PasswordKey, contract.PasswordKey)}
	for _, key := range keys {
		items = append(items, fileOf(key, key))
	}
	secret := corev1.SecretVolumeSourceArgs{
		SecretName: pulumi.String(contract.CredentialsSecret),
		Items:      items,
		// Read by the group alone, which fsGroup makes the server's.
		DefaultMode: pulumi.Int(0o440),
	}
	if optional {
		secret.Optional = pulumi.Bool(true)
	}
	return corev1.VolumeArgs{Name: pulumi.String("credentials"), Secret: secret}
}

// empty is a volume on the node's disk that goes with the pod.
func empty(name string) corev1.VolumeArgs {
	return corev1.VolumeArgs{Name: pulumi.String(name), EmptyDir: corev1.EmptyDirVolumeSourceArgs{}}
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

// certificateVolume holds the certificate and its key, and nothing else of the
// Secret.
func certificateVolume(a settings.Args) corev1.VolumeArgs {
	return corev1.VolumeArgs{
		Name: pulumi.String("tls"),
		Secret: corev1.SecretVolumeSourceArgs{
			SecretName: pulumi.String(a.CertificateSecret()),
			Items: corev1.KeyToPathArray{
				fileOf(contract.CertificateKey, contract.CertificateKey), fileOf(contract.PrivateKeyKey, contract.PrivateKeyKey),
			},
			// PostgreSQL takes a key that belongs to root and that its own group
			// can read, and no other that more than its owner can.
			DefaultMode: pulumi.Int(0o440),
		},
	}
}

// resourceRequirements is nil when nothing is set.
func resourceRequirements(resources settings.Resources) corev1.ResourceRequirementsPtrInput {
	if len(resources.Requests) == 0 && len(resources.Limits) == 0 {
		return nil
	}
	return corev1.ResourceRequirementsArgs{
		Requests: canonicalQuantities(resources.Requests),
		Limits:   canonicalQuantities(resources.Limits),
	}
}

func canonicalQuantities(values settings.Scalars) pulumi.StringMap {
	if len(values) == 0 {
		return nil
	}
	canonical := pulumi.StringMap{}
	for name, value := range values {
		canonical[name] = pulumi.String(canonicalQuantity(value))
	}
	return canonical
}

// canonicalQuantity is a valid quantity in the form that the API server gives
// it.
func canonicalQuantity(value string) string {
	quantity := resource.MustParse(value)
	return quantity.String()
}

func (d Description) pullSecrets() corev1.LocalObjectReferenceArrayInput {
	if len(d.Settings.ImagePullSecrets) == 0 {
		return nil
	}
	var secrets corev1.LocalObjectReferenceArray
	for _, name := range d.Settings.ImagePullSecrets {
		secrets = append(secrets, corev1.LocalObjectReferenceArgs{Name: pulumi.String(name)})
	}
	return secrets
}

// OptionalString is nil for "", which leaves the choice to the cluster or to the
// provider.
func OptionalString(value string) pulumi.StringPtrInput {
	if value == "" {
		return nil
	}
	return pulumi.StringPtr(value)
}

// optionalStringMap is nil for an empty map.
func optionalStringMap(values map[string]string) pulumi.StringMapInput {
	if len(values) == 0 {
		return nil
	}
	return pulumi.ToStringMap(values)
}
