package components

import (
	"fmt"
	"time"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

const checkName = "postgres-check"

// checkTimeout is how long the check may take, the pull of an image included.
const checkTimeout = 5 * time.Minute

// newCheck declares a Job in which the server of the image reads the parameters
// of the settings and does nothing else. Only the server knows which names and
// values it takes; with the Job an update learns it while the old server runs on
// with the old ones. Without parameters there is nothing to check.
func (p *Postgres) newCheck(ctx *pulumi.Context, name string, opts ...pulumi.ResourceOption) error {
	if len(p.args.Parameters) == 0 {
		return nil
	}
	scheduling, err := p.args.scheduling()
	if err != nil {
		return fmt.Errorf("job %s: %w", checkName, err)
	}
	text, err := scripts.ReadFile("scripts/" + checkScript)
	if err != nil {
		return fmt.Errorf("job %s: %w", checkName, err)
	}
	// Not the labels of the server: whoever counts its pods must not find this one.
	labels := pulumi.StringMap{
		"app.kubernetes.io/name":       pulumi.String(checkName),
		"app.kubernetes.io/managed-by": pulumi.String("pulumi"),
	}
	metadata := p.objectMeta(ctx, checkName, nil)
	metadata.Labels = labels
	job, err := batchv1.NewJob(ctx, name+"-check", &batchv1.JobArgs{
		Metadata: metadata,
		Spec: batchv1.JobSpecArgs{
			BackoffLimit:          pulumi.Int(0),
			ActiveDeadlineSeconds: pulumi.Int(seconds(checkTimeout)),
			Template: corev1.PodTemplateSpecArgs{
				Metadata: metav1.ObjectMetaArgs{Labels: labels},
				Spec: corev1.PodSpecArgs{
					RestartPolicy:                pulumi.String("Never"),
					ServiceAccountName:           pulumi.String(serviceAccountName),
					AutomountServiceAccountToken: pulumi.Bool(false),
					EnableServiceLinks:           pulumi.Bool(false),
					SecurityContext:              podSecurity(),
					NodeSelector:                 optionalStringMap(p.args.NodeSelector),
					Tolerations:                  scheduling.tolerations,
					ImagePullSecrets:             p.args.pullSecrets(),
					Containers: corev1.ContainerArray{corev1.ContainerArgs{
						Name:  pulumi.String("check"),
						Image: pulumi.String(p.args.Image),
						// The ConfigMap still holds what the running server has.
						Command:                  pulumi.ToStringArray([]string{"/bin/sh", "-c", string(text)}),
						Env:                      corev1.EnvVarArray{env("CONFIG", p.args.serverConfig())},
						VolumeMounts:             corev1.VolumeMountArray{mount("tmp", "/tmp", false)},
						SecurityContext:          containerSecurity(),
						TerminationMessagePolicy: pulumi.String("FallbackToLogsOnError"),
					}},
					Volumes: corev1.VolumeArray{corev1.VolumeArgs{
						Name: pulumi.String("tmp"), EmptyDir: corev1.EmptyDirVolumeSourceArgs{},
					}},
				},
			},
		},
	}, append(opts, pulumi.ReplaceOnChanges([]string{"spec"}), pulumi.DeleteBeforeReplace(true), pulumi.Timeouts(&pulumi.CustomTimeouts{
		Create: fmt.Sprintf("%ds", seconds(checkTimeout)),
	}))...)
	if err != nil {
		return fmt.Errorf("job %s: %w", checkName, err)
	}
	p.check = job
	return nil
}
