package observe

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rootAuthority is a ConfigMap that Kubernetes puts into every namespace.
const rootAuthority = "kube-root-ca.crt"

// lookAtCluster finds out which cluster it is.
func (o *Observation) lookAtCluster(ctx context.Context, clients Clients) error {
	system, hidden, err := getUnlessHidden(ctx, clients.Core.Namespaces().Get, "namespace", metav1.NamespaceSystem)
	o.ClusterHidden = hidden
	if system != nil {
		o.ClusterUID = string(system.UID)
	}
	return err
}

// lookAtNamespace also looks for something in a namespace that may not be read
// itself: with rights in it alone, that is how to know that it exists.
func (o *Observation) lookAtNamespace(ctx context.Context, clients Clients, name string) (err error) {
	o.Namespace, o.NamespaceHidden, err = getUnlessHidden(ctx, clients.Core.Namespaces().Get, "namespace", name)
	o.NamespaceExists = o.Namespace != nil
	if err != nil || !o.NamespaceHidden {
		return err
	}
	authority, err := get(ctx, clients.Core.ConfigMaps(name).Get, "config map", name, rootAuthority)
	o.NamespaceExists = authority != nil
	return err
}
