// Package kubeconfig finds the way to a Kubernetes cluster. The component and
// verify have to reach the same one, so they ask here.
package kubeconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Source says where the way to a cluster is written down. The zero value stands
// for what kubectl uses without flags.
type Source struct {
	// Kubeconfig is the path of a file, where ~/ stands for the home directory,
	// or the whole content of one. Empty, the usual files are read: those of
	// $KUBECONFIG, else ~/.kube/config, else the account of the pod that this
	// process runs in.
	Kubeconfig string
	// Context is the context to use; empty for the current one.
	Context string
	// Cluster is the name of the cluster to use instead of the context's own;
	// empty for that one.
	Cluster string
}

// ClientConfig reads the kubeconfig. Files are read at once, and nothing is sent
// to the cluster. No error holds any content of a kubeconfig, because that may be
// a credential.
func (s Source) ClientConfig() (clientcmd.ClientConfig, error) {
	overrides := &clientcmd.ConfigOverrides{
		CurrentContext: s.Context,
		Context:        clientcmdapi.Context{Cluster: s.Cluster},
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if s.Kubeconfig == "" {
		if err := checkFiles(rules.Precedence); err != nil {
			return nil, err
		}
		return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides), nil
	}
	path, err := expandHome(s.Kubeconfig)
	if err != nil {
		return nil, err
	}
	if isContent(s.Kubeconfig, path) {
		config, err := clientcmd.Load([]byte(s.Kubeconfig))
		if err != nil {
			return nil, fmt.Errorf("kubeconfig: expected the content of a kubeconfig or the path of one, got %d bytes that cannot be read as a kubeconfig; "+
				"they are not shown, because they may hold credentials", len(s.Kubeconfig))
		}
		return clientcmd.NewDefaultClientConfig(*config, overrides), nil
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("kubeconfig: expected the path of a file, or the whole content of one, got %s: %w", describePath(s.Kubeconfig), reason(err))
	}
	if err := checkFiles([]string{path}); err != nil {
		return nil, err
	}
	rules.ExplicitPath = path
	config, err := rules.Load()
	if err != nil {
		return nil, unreadable(path)
	}
	// Not the deferred loading, which falls back to the account of the pod: a
	// file that was named is the only way.
	return clientcmd.NewNonInteractiveClientConfig(*config, s.Context, overrides, rules), nil
}

// RESTConfig is how a client connects to the cluster, its proxy included. It
// holds the credentials.
func (s Source) RESTConfig() (*rest.Config, error) {
	loaded, err := s.ClientConfig()
	if err != nil {
		return nil, err
	}
	config, err := loaded.ClientConfig()
	switch {
	case err == nil:
		return config, nil
	case s.Kubeconfig == "" && clientcmd.IsEmptyConfig(err):
		return nil, fmt.Errorf("kubeconfig: expected one in $KUBECONFIG or %s, found none; see: kubectl config view", clientcmd.RecommendedHomeFile)
	}
	return nil, withoutProxy(err, loaded)
}

// expandHome replaces the ~ of a path by the home directory.
func expandHome(path string) (string, error) {
	below, found := strings.CutPrefix(path, "~/")
	if !found {
		return path, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("kubeconfig: ~ in %s: %w", path, err)
	}
	return filepath.Join(home, below), nil
}

// isContent tells the content of a kubeconfig from the path of one. A file that
// exists counts as a path, as it does for the provider. Everything on more than
// one line is content, and so is JSON; what is left is a path with a mistake.
func isContent(kubeconfig, path string) bool {
	if _, err := os.Stat(path); err == nil {
		return false
	}
	return strings.ContainsAny(kubeconfig, "\r\n") || strings.HasPrefix(strings.TrimSpace(kubeconfig), "{")
}

// checkFiles reads files, those that exist, and names the one that holds no
// kubeconfig. The parser's own messages quote the content.
func checkFiles(paths []string) error {
	for _, path := range paths {
		if path == "" {
			continue
		}
		content, err := os.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return fmt.Errorf("kubeconfig: expected a file that can be read, got %s: %w", path, reason(err))
		}
		if _, err := clientcmd.Load(content); err != nil {
			return unreadable(path)
		}
	}
	return nil
}

func unreadable(path string) error {
	return fmt.Errorf("kubeconfig: expected YAML or JSON of kind Config, got something else in %s; see: kubectl config view --kubeconfig %s", path, path)
}

// describePath shows what was given as a path, if it looks like one. A token or
// an encoded kubeconfig that was put there by mistake is not shown.
func describePath(path string) string {
	for _, prefix := range []string{"/", "~/", "./", "../"} {
		if strings.HasPrefix(path, prefix) {
			return path
		}
	}
	return fmt.Sprintf("%d characters that name no file from here", len(path))
}

// reason is an error of the file system without the path.
func reason(err error) error {
	var about *fs.PathError
	if errors.As(err, &about) {
		return about.Err
	}
	return err
}

// withoutProxy is an error of the kubeconfig's content, without the address of a
// proxy: that may hold a password. Nothing else that is quoted is a credential.
func withoutProxy(err error, loaded clientcmd.ClientConfig) error {
	raw, rawErr := loaded.RawConfig()
	if rawErr != nil {
		return fmt.Errorf("kubeconfig: %w", rawErr)
	}
	for name, cluster := range raw.Clusters {
		if cluster.ProxyURL != "" && strings.Contains(err.Error(), fmt.Sprintf("%q", cluster.ProxyURL)) {
			return fmt.Errorf("kubeconfig: cluster %q: expected a proxy-url like http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT; "+
				"this one is not shown, because it may hold a password", name)
		}
	}
	return fmt.Errorf("kubeconfig: %w", err)
}
