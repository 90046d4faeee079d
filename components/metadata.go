package components

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"

	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Names of the objects. Every one is explicit: a generated name would change
// when an object is replaced, and the server would come up on a new, empty
// volume.
const (
	configMapName       = "postgres-config"
	secretName          = "postgres-credentials"
	serviceName         = "postgres"
	headlessServiceName = "postgres-headless"
	statefulSetName     = "postgres"
	// claimTemplateName with the StatefulSet's name and an ordinal makes the
	// name under which the StatefulSet looks for a pod's claim.
	claimTemplateName = "postgredb"
)

// claimName is the claim that the StatefulSet's claim template gives a pod.
func claimName(ordinal int) string {
	return fmt.Sprintf("%s-%s-%d", claimTemplateName, statefulSetName, ordinal)
}

// Annotations that the Pulumi Kubernetes provider reads.
const (
	annotationSkipAwait    = "pulumi.com/skipAwait"
	annotationWaitFor      = "pulumi.com/waitFor"
	annotationPatchForce   = "pulumi.com/patchForce"
	annotationFieldManager = "pulumi.com/patchFieldManager"
)

// serverLabel is the value of app.kubernetes.io/name.
const serverLabel = "postgres"

// selectorLabels name the pods of one server. They are immutable in a
// StatefulSet, so they hold nothing that could ever change.
func selectorLabels() pulumi.StringMap {
	return pulumi.StringMap{
		"app.kubernetes.io/name":     pulumi.String(serverLabel),
		"app.kubernetes.io/instance": pulumi.String(statefulSetName),
	}
}

// objectLabels are on everything that the component makes.
func objectLabels() pulumi.StringMap {
	labels := selectorLabels()
	labels["app.kubernetes.io/managed-by"] = pulumi.String("pulumi")
	return labels
}

// objectMeta is the metadata of an object of this component.
//
// One field manager for the whole life of a stack lets a later update, even one
// that starts from an empty state, take back what an earlier one made. It is the
// component's own, so that the claim says whose data it holds (see checkOwner).
//
// Whoever changes an object by hand (kubectl scale), and the StatefulSet
// controller when it has to make a claim, become managers of the fields that
// they set. The next update takes them back.
func (p *Postgres) objectMeta(ctx *pulumi.Context, name string, annotations pulumi.StringMap) metav1.ObjectMetaArgs {
	all := pulumi.StringMap{
		annotationFieldManager: pulumi.String(p.fieldManager),
		annotationPatchForce:   pulumi.String("true"),
	}
	maps.Copy(all, annotations)
	return metav1.ObjectMetaArgs{
		Name:        pulumi.String(name),
		Namespace:   pulumi.String(p.args.Namespace),
		Labels:      objectLabels(),
		Annotations: all,
	}
}

// maxFieldManagerLength is the API server's limit.
const maxFieldManagerLength = 128

// programName is the component's name in the program that this project is.
const programName = "postgres"

// fieldManager names a component of a stack, so that two of them, of one stack
// or of two, do not take each other's objects for their own.
func fieldManager(project, stack, name string) string {
	manager := fmt.Sprintf("pulumi-%s-%s", project, stack)
	if name != programName {
		manager += "-" + name
	}
	if len(manager) <= maxFieldManagerLength {
		return manager
	}
	sum := sha256.Sum256([]byte(manager))
	suffix := hex.EncodeToString(sum[:8])
	return manager[:maxFieldManagerLength-len(suffix)] + suffix
}
