// Package provisioner makes volumes of type local out of folders on the host:
// the nearest thing on one machine to a cloud's disks. Like those they get the
// pod's fsGroup, have a node affinity (their zone) and can grow; unlike those
// they do not enforce their size, since they all share the host's file system.
package provisioner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"stateful-postgres/local/internal/layout"
)

// Name is what a StorageClass calls this provisioner.
const Name = "localkube/folder"

// Zone is the value of the label topology.kubernetes.io/zone of every node
// that reaches the folders.
const Zone = "local"

// Folder is where the volumes are, in every machine.
func Folder(l layout.Layout) string { return filepath.Join(l.Cluster(), "volumes") }

// NewCommand returns the provisioner's own command.
func NewCommand() *cobra.Command {
	var kubeconfig, folder string
	c := &cobra.Command{
		Use:   "volume-provisioner",
		Short: "Makes, grows and deletes volumes in a folder of the host",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(command.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			return run(ctx, client, folder)
		},
	}
	c.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the apiserver")
	c.Flags().StringVar(&folder, "volumes", "", "folder of the volumes, the same on every node")
	_ = c.MarkFlagRequired("kubeconfig")
	_ = c.MarkFlagRequired("volumes")
	return c
}

func run(ctx context.Context, client kubernetes.Interface, folder string) error {
	if err := os.MkdirAll(folder, 0o711); err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	claims := factory.Core().V1().PersistentVolumeClaims()
	if err := growClaims(ctx, client, claims.Informer(), factory); err != nil {
		return err
	}
	provision := controller.NewProvisionController(ctx, client, Name, &folders{folder},
		controller.LeaderElection(false),
		// A folder is made at once: a short wait after an error is enough.
		controller.ExponentialBackOffOnError(false),
		controller.ClaimsInformer(claims.Informer()),
	)
	factory.Start(ctx.Done())
	provision.Run(ctx)
	return nil
}

// folders provisions volumes as folders below a parent.
type folders struct{ parent string }

var _ controller.Provisioner = (*folders)(nil)

// Provision makes the folder of a new volume.
func (f *folders) Provision(_ context.Context, o controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	if o.PVC.Spec.Selector != nil {
		return nil, controller.ProvisioningFinished, errors.New("claims with a selector are not supported")
	}
	if mode := o.PVC.Spec.VolumeMode; mode != nil && *mode != corev1.PersistentVolumeFilesystem {
		return nil, controller.ProvisioningFinished, fmt.Errorf("volume mode %s: expected %s", *mode, corev1.PersistentVolumeFilesystem)
	}
	folder := filepath.Join(f.parent, o.PVName)
	// Root's, as a fresh disk is: the kubelet sets group and mode from the
	// pod's fsGroup.
	if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, controller.ProvisioningFinished, err
	}
	mode := corev1.PersistentVolumeFilesystem
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			VolumeMode:                    &mode,
			MountOptions:                  o.StorageClass.MountOptions,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: o.PVC.Spec.Resources.Requests[corev1.ResourceStorage]},
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: folder}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{
						Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{Zone},
					}},
				}},
			}},
		},
	}, controller.ProvisioningFinished, nil
}

// Delete removes the folder of a volume whose claim is gone and whose reclaim
// policy says so.
func (f *folders) Delete(_ context.Context, volume *corev1.PersistentVolume) error {
	if volume.Spec.Local == nil || filepath.Dir(volume.Spec.Local.Path) != f.parent {
		return fmt.Errorf("volume %s: not a folder of %s", volume.Name, f.parent)
	}
	return os.RemoveAll(volume.Spec.Local.Path)
}
