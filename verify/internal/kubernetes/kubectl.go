package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"stateful-postgres/internal/kubeconfig"
)

// waitAfterInterrupt is what an interrupted kubectl has left to end in.
const waitAfterInterrupt = 5 * time.Second

// Kubectl runs kubectl in one namespace of a cluster.
type Kubectl struct {
	namespace string
	// file is a kubeconfig that leads to the cluster; empty for what kubectl uses by itself.
	file string
}

// NewKubectl prepares kubectl for a cluster. It writes a kubeconfig into a folder, which only this user
// may read, and which Close removes.
func NewKubectl(source kubeconfig.Source, namespace, folder string) (*Kubectl, error) {
	if _, err := exec.LookPath("kubectl"); err != nil {
		return nil, errors.New("kubectl is not on PATH: install it, or for the local cluster run: . .local/env")
	}
	k := &Kubectl{namespace: namespace}
	loaded, err := source.ClientConfig()
	if err != nil {
		return nil, err
	}
	raw, err := loaded.RawConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	if len(raw.Contexts) == 0 {
		// The account of the pod that this process runs in.
		return k, nil
	}
	if source.Context != "" {
		raw.CurrentContext = source.Context
	}
	if context := raw.Contexts[raw.CurrentContext]; context != nil && source.Cluster != "" {
		context.Cluster = source.Cluster
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(folder, "kubeconfig-")
	if err != nil {
		return nil, err
	}
	k.file = file.Name()
	// It is made for its owner alone.
	content, err := clientcmd.Write(raw)
	if err == nil {
		_, err = file.Write(content)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// Close removes what was written.
func (k *Kubectl) Close() error {
	if k.file == "" {
		return nil
	}
	return os.Remove(k.file)
}

// Run runs kubectl with some standard input, and returns what it prints. The error says what it
// complained about.
func (k *Kubectl) Run(ctx context.Context, input string, arguments ...string) (string, error) {
	all := []string{"--namespace", k.namespace}
	if k.file != "" {
		all = append(all, "--kubeconfig", k.file)
	}
	command := exec.CommandContext(ctx, "kubectl", append(all, arguments...)...)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = waitAfterInterrupt
	command.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", arguments[0], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Localkube returns the local cluster's own command, or nil when this cluster is another one. It has to
// be on PATH.
func Localkube(ctx context.Context, config *rest.Config) func(ctx context.Context, arguments ...string) error {
	said, err := exec.CommandContext(ctx, "localkube", "env").Output()
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(said)) {
		value, found := strings.CutPrefix(strings.TrimSpace(line), "export KUBECONFIG=")
		if !found {
			continue
		}
		local, err := kubeconfig.Source{Kubeconfig: filepath.Clean(strings.Trim(value, `'"`))}.RESTConfig()
		if err != nil || local.Host != config.Host {
			return nil
		}
		return func(ctx context.Context, arguments ...string) error {
			printed, err := exec.CommandContext(ctx, "localkube", arguments...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("localkube %s: %w: %s", strings.Join(arguments, " "), err, strings.TrimSpace(string(printed)))
			}
			return nil
		}
	}
	return nil
}
