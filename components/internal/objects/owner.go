package objects

import (
	"strconv"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/internal/contract"
)

// ownerContainer gives the volume to the server's user before the server starts.
// It is the only container that runs as root, and it may do nothing that it has no
// need of: change owners, also of what it could not read otherwise.
func ownerContainer(d Description, resources corev1.ResourceRequirementsPtrInput, command pulumi.StringArray, mounts ...corev1.VolumeMountInput) corev1.ContainerArgs {
	security := containerSecurity()
	security.RunAsUser, security.RunAsGroup, security.RunAsNonRoot = pulumi.Int(0), pulumi.Int(0), pulumi.Bool(false)
	security.Capabilities = corev1.CapabilitiesArgs{
		Drop: pulumi.ToStringArray([]string{"ALL"}),
		Add:  pulumi.ToStringArray([]string{"CHOWN", "DAC_OVERRIDE"}),
	}
	return corev1.ContainerArgs{
		Name:                     pulumi.String("volume-owner"),
		Image:                    pulumi.String(d.Settings.Image),
		Command:                  command,
		Env:                      corev1.EnvVarArray{env("PGDATA", contract.DataPath)},
		VolumeMounts:             append(corev1.VolumeMountArray{mount(contract.ClaimTemplate, contract.VolumePath, false)}, mounts...),
		Resources:                resources,
		SecurityContext:          security,
		TerminationMessagePolicy: pulumi.String("FallbackToLogsOnError"),
	}
}

func ownerArguments(d Description) []string { return []string{strconv.Itoa(*d.Settings.RunAsUser)} }
