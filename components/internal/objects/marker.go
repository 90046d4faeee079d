package objects

import (
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/internal/contract"
)

// initializeVariable is set for a server that may begin anew although data is
// expected.
const initializeVariable = "INITIALIZE_EMPTY_VOLUME"

// Marker is the ConfigMap that says: there was data. It comes after the
// StatefulSet: that one is waited for until its servers are ready. It outlives the
// stack like the claim, and from then on a server that finds an empty volume
// refuses to begin a new database on it. A server that was never started expects
// nothing; one that was, and is scaled to zero, still does. Manifests that are
// rendered to files hold no marker, because whoever applies them starts with
// nothing.
//
// Where data is expected already it comes first, so that it is there before the
// server, also in a namespace that was deleted and is made anew.
func Marker(d Description) Object[corev1.ConfigMapArgs] {
	object := Object[corev1.ConfigMapArgs]{
		Title: "config map " + contract.Marker, Suffix: contract.MarkerSuffix,
		Data: true,
	}
	if d.Observed.Rendering || *d.Settings.Replicas == 0 && !d.DataExpected() {
		return object
	}
	object.Args = &corev1.ConfigMapArgs{
		Metadata: d.metadata(contract.Marker, nil),
		Data: pulumi.StringMap{
			contract.MarkerKey: pulumi.String("A server was ready on claim " + contract.ClaimName(0) +
				". As long as this ConfigMap exists, a server that finds the volume empty refuses to start.\n"),
		},
	}
	return object
}
