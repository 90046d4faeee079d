package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"stateful-postgres/internal/contract"
)

// diskSize is the size of a disk of OwnDisks, in bytes; a claim asks for all of it.
const (
	diskSize  = 512 << 20
	diskClaim = "512Mi"
	// diskLog is the setting max_wal_size that leaves room for rows.
	diskLog = "96MB"
)

// Disk is a file of this machine, as a block device.
type Disk struct{ File, Device string }

// OwnDisks makes the stack's namespace, and gives each of so many servers a disk of 512 MiB with a file
// system of its own, which can really be full. Any node reaches every disk, as with a disk of a cloud. It
// needs root, and goes with the stack.
func (s *Stack) OwnDisks(ctx context.Context, number int) (disks []Disk, err error) {
	if err := s.Run(ctx, "kubectl", "create", "namespace", s.Namespace).Err(); err != nil {
		return nil, err
	}
	found := s.Run(ctx, "kubectl", "get", "namespace", s.Namespace, "--output=jsonpath={.metadata.uid}")
	if err := found.Err(); err != nil {
		return nil, err
	}
	// The objects are in no namespace, and go with the stack's.
	metadata := func(name string) map[string]any {
		return map[string]any{"name": name, "ownerReferences": []any{map[string]any{
			"apiVersion": "v1", "kind": "Namespace", "name": s.Namespace, "uid": found.Stdout,
		}}}
	}
	class := s.Name
	objects := []any{map[string]any{
		"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": metadata(class),
		"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
	}}
	for ordinal := range number {
		file := filepath.Join(s.Folder, fmt.Sprintf("%s%d", diskFiles, ordinal))
		if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, diskSize)); err != nil {
			return nil, err
		}
		attached := s.Run(ctx, "losetup", "--find", "--show", file)
		if err := attached.Err(); err != nil {
			return nil, fmt.Errorf("a disk that can be full is a loop device, which this machine must be able to make: %w", err)
		}
		device := strings.TrimSpace(attached.Stdout)
		disks = append(disks, Disk{file, device})
		objects = append(objects, map[string]any{
			"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata(fmt.Sprintf("%s-%d", class, ordinal)),
			"spec": map[string]any{
				"capacity": map[string]any{"storage": diskClaim}, "accessModes": []string{"ReadWriteOnce"},
				"storageClassName": class, "persistentVolumeReclaimPolicy": "Retain",
				"local":    map[string]any{"path": device, "fsType": "ext4"},
				"claimRef": map[string]any{"namespace": s.Namespace, "name": contract.ClaimName(ordinal)},
				"nodeAffinity": map[string]any{"required": map[string]any{"nodeSelectorTerms": []any{map[string]any{
					"matchExpressions": []any{map[string]any{"key": "kubernetes.io/os", "operator": "In", "values": []string{"linux"}}},
				}}}},
			},
		})
	}
	manifest, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": objects})
	if err != nil {
		return nil, err
	}
	if err := s.KubectlWithInput(ctx, strings.NewReader(string(manifest)), "create", "--filename=-").Err(); err != nil {
		return nil, err
	}
	for _, result := range []Result{
		s.Set(ctx, "storageClass", class), s.Set(ctx, "storage", diskClaim), s.SetPath(ctx, "parameters.max_wal_size", diskLog),
	} {
		if err := result.Err(); err != nil {
			return nil, err
		}
	}
	return disks, nil
}

// diskFiles begins the names of disks in a stack's folder.
const diskFiles = "disk-"

// detachDisks gives the devices of a stack's disks back. The kernel waits until nobody has them mounted.
func (w *Workspace) detachDisks(ctx context.Context, folder string) error {
	files, err := filepath.Glob(filepath.Join(folder, diskFiles+"*"))
	if err != nil {
		return err
	}
	for _, file := range files {
		listed := w.run(ctx, w.command(ctx, "losetup", "--noheadings", "--output=NAME", "--associated", file))
		if err := listed.Err(); err != nil {
			return err
		}
		for device := range strings.FieldsSeq(listed.Stdout) {
			if err := w.run(ctx, w.command(ctx, "losetup", "--detach", device)).Err(); err != nil {
				return err
			}
		}
	}
	return nil
}
