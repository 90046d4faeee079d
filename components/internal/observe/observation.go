// Package observe reads everything that an update has to know before it touches
// anything: what the cluster holds, and what the stack's state says. It decides
// nothing.
package observe

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"stateful-postgres/internal/contract"
)

// Observation is what was there before an update. An object that is not there is
// nil. The Pulumi state alone would not do: after a destroy it is empty, and the
// data is still there.
type Observation struct {
	// Time is when it was observed.
	Time time.Time
	// NoCluster says that no cluster was looked at.
	NoCluster bool
	// Rendering says that there is no cluster: the objects go to files.
	Rendering bool

	// Server is the address of the API server that was asked.
	Server string
	// ClusterUID tells clusters apart: it is the UID of the namespace kube-system,
	// which every cluster has, and which nobody can delete.
	ClusterUID string
	// ClusterHidden says that it may not be read.
	ClusterHidden bool

	// Namespace is the one that the settings name.
	Namespace *corev1.Namespace
	// NamespaceHidden says that it may not be read.
	NamespaceHidden bool
	// NamespaceExists says that it is there: it could be read, or it is hidden and
	// something that is in it could be read.
	NamespaceExists bool

	// Claim is the claim of pod 0, and StorageClass is its class.
	Claim        *corev1.PersistentVolumeClaim
	StorageClass *storagev1.StorageClass
	// StorageClassHidden says that the class may not be read.
	StorageClassHidden bool
	// ClaimVolume is the volume that the claim has.
	ClaimVolume *corev1.PersistentVolume
	// ClaimVolumeHidden says that it may not be read.
	ClaimVolumeHidden bool
	// Standbys are the claims of the other pods that the settings ask for, by ordinal.
	Standbys map[int]*corev1.PersistentVolumeClaim
	// Sync is the ConfigMap that says who has every acknowledged write, with
	// highAvailability.
	Sync *corev1.ConfigMap
	// Volume is the volume that the settings name.
	Volume *corev1.PersistentVolume
	// VolumeHidden says that the volume may not be read.
	VolumeHidden bool
	// Marker says that a server was ready on the claim before.
	Marker *corev1.ConfigMap
	// Credentials is the Secret with the password.
	Credentials *corev1.Secret
	// CertificateSecret holds the server's certificate.
	CertificateSecret *corev1.Secret
	// StatefulSet, Services and ConfigMap have the names of the component's own.
	StatefulSet *appsv1.StatefulSet
	Services    []*corev1.Service
	ConfigMap   *corev1.ConfigMap

	// NamespaceInState says that the stack's state holds the namespace as an object
	// of the component.
	NamespaceInState bool
	// Last is what components of this name registered at the end of the stack's last
	// update: one, or none. Only components with different parents can have the same
	// name.
	Last []Registered
	// Warnings are what could not be read, and what follows from it.
	Warnings []string
}

// Registered is what a component said at the end of an update that worked. It
// outlives the objects: the engine forgets those that are gone from the cluster.
type Registered struct {
	Namespace string
	// ClusterUID is that of the cluster, "" when it was not known.
	ClusterUID string
	// DataExpected says that a server was ready on the volume, then or before.
	DataExpected bool
}

// LastIn is what the component in a namespace registered, the zero value for
// nothing.
func (o Observation) LastIn(namespace string) Registered {
	for _, last := range o.Last {
		if last.Namespace == namespace {
			return last
		}
	}
	return Registered{}
}

// DataExpected says that there was data in the namespace: a server was ready.
// The namespace itself says so with the marker. When all of it is gone the state
// still does.
func (o Observation) DataExpected(namespace string) bool {
	return o.Marker != nil || o.LastIn(namespace).DataExpected
}

// OwnNamespace says that a component made the namespace: the state holds it, or the
// namespace itself names its field manager.
func (o Observation) OwnNamespace(manager string) bool {
	return o.NamespaceInState || o.Namespace != nil && o.Namespace.Annotations[contract.AnnotationFieldManager] == manager
}

// ClaimNeverBound says that nothing can be on the claim: it still waits for a
// volume of its own, and no server was ever ready on it.
func (o Observation) ClaimNeverBound() bool {
	claim := o.Claim
	return claim != nil && NeverBound(claim) && !o.DataExpected(claim.Namespace)
}

// NeverBound says that a claim waits for a volume that is made for it. Once it has
// one, it names it for ever.
func NeverBound(claim *corev1.PersistentVolumeClaim) bool {
	return claim.Status.Phase == corev1.ClaimPending && claim.Spec.VolumeName == "" && claim.DeletionTimestamp == nil
}

// HighAvailability says that Patroni runs the servers.
func (o Observation) HighAvailability() bool {
	return o.StatefulSet != nil && o.StatefulSet.Spec.Template.Labels[contract.LabelMembers] != ""
}

// TLS says that the servers offer TLS.
func (o Observation) TLS() bool {
	if o.StatefulSet == nil {
		return false
	}
	return slices.ContainsFunc(o.StatefulSet.Spec.Template.Spec.Volumes, func(volume corev1.Volume) bool { return volume.Name == "tls" })
}

// Replicas are how many servers there are to be at present.
func (o Observation) Replicas() int {
	switch {
	case o.StatefulSet == nil:
		return 0
	case o.StatefulSet.Spec.Replicas == nil:
		return 1
	}
	return int(*o.StatefulSet.Spec.Replicas)
}

// Trusted are the pods that have every acknowledged write, the one first that
// takes or took the writes. It is empty when nobody knows.
func (o Observation) Trusted() []string {
	if o.Sync == nil {
		return nil
	}
	return contract.Trusted(o.Sync.Annotations)
}
