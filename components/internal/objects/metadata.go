package objects

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"

	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/internal/contract"
)

// metadata is that of an object of the component.
//
// One field manager for the whole life of a stack lets a later update, even one
// that starts from an empty state, take back what an earlier one made. It is the
// component's own, so that the claim says whose data it holds.
//
// Whoever changes an object by hand (kubectl scale), and the StatefulSet
// controller when it has to make a claim, become managers of the fields that
// they set. The next update takes them back.
func (d Description) metadata(name string, annotations map[string]string) metav1.ObjectMetaArgs {
	all := map[string]string{
		contract.AnnotationFieldManager: d.FieldManager,
		contract.AnnotationPatchForce:   "true",
	}
	maps.Copy(all, annotations)
	return metav1.ObjectMetaArgs{
		Name:        pulumi.String(name),
		Namespace:   pulumi.String(d.Settings.Namespace),
		Labels:      pulumi.ToStringMap(contract.ObjectLabels()),
		Annotations: pulumi.ToStringMap(all),
	}
}

// skipAwait keeps the provider from waiting for an object.
func skipAwait() map[string]string {
	return map[string]string{contract.AnnotationSkipAwait: "true"}
}

// selectorLabels name the pods of the server.
func selectorLabels() pulumi.StringMap { return pulumi.ToStringMap(contract.SelectorLabels()) }

// maxFieldManagerLength is the API server's limit.
const maxFieldManagerLength = 128

// programName is the component's name in the program that this project is.
const programName = "postgres"

// FieldManager names a component of a stack, so that two of them, of one stack or
// of two, do not take each other's objects for their own.
func FieldManager(project, stack, name string) string {
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
