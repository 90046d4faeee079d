package components

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	appsv1client "k8s.io/client-go/kubernetes/typed/apps/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	storagev1client "k8s.io/client-go/kubernetes/typed/storage/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// lookupTimeout is how long the look at the cluster before an update may take.
const lookupTimeout = 15 * time.Second

// existing is what the cluster holds before anything is declared.
type existing struct {
	// claim is the claim of pod 0, nil when there is none.
	claim *corev1.PersistentVolumeClaim
	// expandable says whether the claim's storage class lets it grow.
	expandable bool
	// marker says whether a server was ready on the claim before.
	marker bool
	// tls is the Secret of the server's certificate, nil when there is none.
	tls *corev1.Secret
	// unseen says that nothing of this was looked at.
	unseen bool
	// rendering says that there is no cluster: the objects go to files.
	rendering bool
	// volume is the volume that the settings name, nil when there is none of
	// that name. volumeSeen says that it was looked for, and could be read.
	volume     *corev1.PersistentVolume
	volumeSeen bool
	// otherSetUp are objects under the component's names that are of another
	// set-up, and that it can therefore not make its own.
	otherSetUp []string
}

// clients are the parts of the API that are looked at.
type clients struct {
	core    corev1client.CoreV1Interface
	apps    appsv1client.AppsV1Interface
	storage storagev1client.StorageV1Interface
}

// lookUp reads what the cluster holds. The Pulumi state would not do: after a
// destroy it is empty, and the data is still there.
func lookUp(ctx context.Context, cluster clients, namespace, volumeName string) (existing, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()

	var live existing
	if err := live.lookUpVolume(ctx, cluster, volumeName); err != nil {
		return live, err
	}
	if err := live.lookUpOtherSetUp(ctx, cluster, namespace); err != nil {
		return live, err
	}
	marker, err := cluster.core.ConfigMaps(namespace).Get(ctx, markerName, metav1.GetOptions{})
	if marker, err = ifFound(marker, err, "config map", namespace, markerName); err != nil {
		return live, err
	}
	live.marker = marker != nil

	claim, err := cluster.core.PersistentVolumeClaims(namespace).Get(ctx, claimName(0), metav1.GetOptions{})
	if claim, err = ifFound(claim, err, "claim", namespace, claimName(0)); err != nil || claim == nil {
		return live, err
	}
	live.claim = claim

	if class := claim.Spec.StorageClassName; class != nil && *class != "" {
		storageClass, err := cluster.storage.StorageClasses().Get(ctx, *class, metav1.GetOptions{})
		switch {
		case apierrors.IsForbidden(err):
			// Only the API server can tell then, and it does, at preview.
			live.expandable = true
		case apierrors.IsNotFound(err):
		case err != nil:
			return live, fmt.Errorf("storage class %s: %w", *class, err)
		default:
			live.expandable = storageClass.AllowVolumeExpansion != nil && *storageClass.AllowVolumeExpansion
		}
	}
	return live, nil
}

// lookUpSecret reads a Secret, nil when there is none. No name is no Secret.
func lookUpSecret(ctx context.Context, core corev1client.CoreV1Interface, namespace, name string) (*corev1.Secret, error) {
	if name == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	secret, err := core.Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	return ifFound(secret, err, "secret", namespace, name)
}

// ifFound is what a Get answered, nil for an object that is not there.
func ifFound[T any](object *T, err error, kind, namespace, name string) (*T, error) {
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%s %s in namespace %s: %w", kind, name, namespace, err)
	}
	return object, nil
}

// lookUpVolume reads the volume that the settings name.
func (live *existing) lookUpVolume(ctx context.Context, cluster clients, name string) error {
	if name == "" {
		return nil
	}
	volume, err := cluster.core.PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		// Volumes belong to no namespace, so that not everybody may read them.
	case apierrors.IsNotFound(err):
		live.volumeSeen = true
	case err != nil:
		return fmt.Errorf("persistent volume %s: %w", name, err)
	default:
		live.volume, live.volumeSeen = volume, true
	}
	return nil
}

// lookUpOtherSetUp finds the objects that an update could not make its own: a
// StatefulSet would have to be replaced, a label in a Service's selector and a
// password in the ConfigMap would stay, for they have another manager.
func (live *existing) lookUpOtherSetUp(ctx context.Context, cluster clients, namespace string) error {
	set, err := cluster.apps.StatefulSets(namespace).Get(ctx, statefulSetName, metav1.GetOptions{})
	if set, err = ifFound(set, err, "stateful set", namespace, statefulSetName); err != nil {
		return err
	}
	if set != nil && !isOwnStatefulSet(set) {
		live.otherSetUp = append(live.otherSetUp, fmt.Sprintf("StatefulSet %s (%s)", statefulSetName, metav1.FormatLabelSelector(set.Spec.Selector)))
	}
	for _, name := range []string{serviceName, headlessServiceName} {
		service, err := cluster.core.Services(namespace).Get(ctx, name, metav1.GetOptions{})
		if service, err = ifFound(service, err, "service", namespace, name); err != nil {
			return err
		}
		if service != nil && !isOwnSelector(service.Spec.Selector) {
			live.otherSetUp = append(live.otherSetUp, fmt.Sprintf("Service %s (%s)", name, labels.FormatLabels(service.Spec.Selector)))
		}
	}
	configMap, err := cluster.core.ConfigMaps(namespace).Get(ctx, configMapName, metav1.GetOptions{})
	if configMap, err = ifFound(configMap, err, "config map", namespace, configMapName); err != nil {
		return err
	}
	if configMap != nil {
		if _, found := configMap.Data[passwordKey]; found {
			live.otherSetUp = append(live.otherSetUp, fmt.Sprintf("ConfigMap %s (with a password)", configMapName))
		}
	}
	return nil
}

// isOwnStatefulSet compares what nobody can change in a StatefulSet.
func isOwnStatefulSet(set *appsv1.StatefulSet) bool {
	templates := set.Spec.VolumeClaimTemplates
	return set.Spec.ServiceName == headlessServiceName &&
		set.Spec.PodManagementPolicy == appsv1.ParallelPodManagement &&
		set.Spec.Selector != nil && isOwnSelector(set.Spec.Selector.MatchLabels) && len(set.Spec.Selector.MatchExpressions) == 0 &&
		len(templates) == 1 && templates[0].Name == claimTemplateName
}

// isOwnSelector says whether a selector asks for nothing but the component's own
// labels, whatever their values: those the next update puts right.
func isOwnSelector(selector map[string]string) bool {
	own := selectorLabels()
	for label := range selector {
		if _, found := own[label]; !found {
			return false
		}
	}
	return true
}

// lookUpStack is lookUp in the cluster that the stack's kubernetes:* settings
// name. Without a cluster to look at (manifests rendered to files, unit tests) it
// finds nothing.
func lookUpStack(ctx *pulumi.Context, a PostgresArgs) (existing, error) {
	_, rendering := ctx.GetConfig("kubernetes:renderYamlToDirectory")
	if rendering || ctx.RunningWithMocks() {
		return existing{rendering: rendering, unseen: true}, nil
	}
	live, err := func() (existing, error) {
		config, err := restConfig(ctx)
		if err != nil {
			return existing{}, err
		}
		var cluster clients
		if cluster.core, err = corev1client.NewForConfig(config); err != nil {
			return existing{}, err
		}
		if cluster.apps, err = appsv1client.NewForConfig(config); err != nil {
			return existing{}, err
		}
		if cluster.storage, err = storagev1client.NewForConfig(config); err != nil {
			return existing{}, err
		}
		live, err := lookUp(ctx.Context(), cluster, a.Namespace, a.VolumeName)
		if err != nil {
			return existing{}, err
		}
		live.tls, err = lookUpSecret(ctx.Context(), cluster.core, a.Namespace, a.liveTLSSecret())
		return live, err
	}()
	if err == nil {
		return live, nil
	}
	for _, key := range []string{"deleteUnreachable", "skipUpdateUnreachable"} {
		if value, _ := ctx.GetConfig("kubernetes:" + key); value == "true" {
			return existing{unseen: true}, nil
		}
	}
	return existing{}, fmt.Errorf("the cluster did not answer: %w; nothing was changed; "+
		"start the cluster, or correct kubernetes:context or kubernetes:kubeconfig", err)
}

// restConfig follows the provider: the stack's kubeconfig as a path or as
// content, else the usual files, with the stack's context and cluster.
func restConfig(ctx *pulumi.Context) (*rest.Config, error) {
	setting := func(key string) string {
		value, _ := ctx.GetConfig("kubernetes:" + key)
		return value
	}
	overrides := &clientcmd.ConfigOverrides{
		CurrentContext: setting("context"),
		Context:        clientcmdapi.Context{Cluster: setting("cluster")},
	}
	kubeconfig := setting("kubeconfig")
	if kubeconfig == "" {
		return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
			clientcmd.NewDefaultClientConfigLoadingRules(), overrides).ClientConfig()
	}
	path := kubeconfig
	if rest, below := strings.CutPrefix(path, "~/"); below {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		path = filepath.Join(home, rest)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		content = []byte(kubeconfig)
	}
	config, err := clientcmd.Load(content)
	if err != nil {
		// The parser's own message may hold a part of the credentials.
		return nil, errors.New("kubernetes:kubeconfig is neither a readable file nor a kubeconfig")
	}
	return clientcmd.NewDefaultClientConfig(*config, overrides).ClientConfig()
}
