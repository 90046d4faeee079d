package components

import (
	"fmt"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// markerName is the ConfigMap that says: there was data. It is made once a
// server was ready, outlives the stack like the claim, and from then on a server
// that finds an empty volume refuses to begin a new database on it.
const markerName = "postgres-data-expected"

const (
	// markerPath is where a pod finds the marker when there is one.
	markerPath = "/run/stateful-postgres/data-expected"
	markerKey  = "README"

	// initializeVariable is set for a server that may begin anew all the same.
	initializeVariable = "INITIALIZE_EMPTY_VOLUME"
)

// newMarker declares the marker, after the StatefulSet: that one is waited for
// until its servers are ready. A server that was never started expects nothing;
// one that was, and is scaled to zero, still does. Manifests that are rendered
// to files hold no marker, because whoever applies them starts with nothing.
func (p *Postgres) newMarker(ctx *pulumi.Context, name string, opts ...pulumi.ResourceOption) error {
	if p.existing.rendering || *p.args.Replicas == 0 && !p.existing.marker {
		return nil
	}
	_, err := corev1.NewConfigMap(ctx, name+"-data-expected", &corev1.ConfigMapArgs{
		Metadata: p.objectMeta(ctx, markerName, nil),
		Data: pulumi.StringMap{
			markerKey: pulumi.String("A server was ready on claim " + claimName(0) +
				". As long as this ConfigMap exists, a server that finds the volume empty refuses to start.\n"),
		},
	}, append(opts, pulumi.RetainOnDelete(!p.args.DeleteData))...)
	if err != nil {
		return fmt.Errorf("config map %s: %w", markerName, err)
	}
	return nil
}
