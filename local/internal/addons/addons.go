// Package addons holds the objects that a local cluster has before its user
// makes any: the default StorageClass with its provisioner's rights, and the
// cluster's DNS.
package addons

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os/exec"
	"strings"

	"stateful-postgres/local/internal/layout"
)

//go:embed manifests.yaml
var manifests []byte

// Apply makes the objects, or changes them to what they should be.
func Apply(ctx context.Context, l layout.Layout) error {
	var out bytes.Buffer
	command := exec.CommandContext(ctx, l.Binary("kubectl"),
		"--kubeconfig="+l.Kubeconfig(), "apply", "--server-side", "--force-conflicts", "--field-manager=localkube", "--filename=-")
	command.Stdin = bytes.NewReader(manifests)
	command.Stdout, command.Stderr = &out, &out
	if err := command.Run(); err != nil {
		return fmt.Errorf("apply the cluster's own objects: %w: %s", err, strings.TrimSpace(out.String()))
	}
	return nil
}
