package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"stateful-postgres/internal/contract"
)

// The official image takes these from its environment, and the user's name where a name is missing.
const (
	imageVariables = "POSTGRES_"
	defaultUser    = "postgres"
)

// Found is a PostgreSQL server that was found by looking into a namespace.
type Found struct {
	Objects  Objects
	Port     int
	Database string
	User     string
	Password string
	// Certificate is how to check the server's; nil for a server that is not known to offer TLS.
	Certificate *Certificate
}

// Discover finds the PostgreSQL server of a namespace and how to log in, from its objects
// alone: the StatefulSet with the given name, or the only one that looks like PostgreSQL.
func (c *Cluster) Discover(ctx context.Context, namespace, name string) (*Found, error) {
	set, err := c.findStatefulSet(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	found := &Found{Objects: Objects{Namespace: namespace, StatefulSet: set.Name, Headless: set.Spec.ServiceName}, Port: contract.Port}
	template := &set.Spec.Template
	services, err := c.Core.Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("services of namespace %s: %w", namespace, err)
	}
	found.Objects.HighAvailability = template.Labels[contract.LabelMembers] == contract.MembersScope
	for _, service := range services.Items {
		// A pod gets its role from Patroni, and the template has none.
		selector := maps.Clone(service.Spec.Selector)
		role := selector[contract.LabelRole]
		delete(selector, contract.LabelRole)
		if len(selector) == 0 || !labels.SelectorFromSet(selector).Matches(labels.Set(template.Labels)) {
			continue
		}
		if service.Spec.ClusterIP == corev1.ClusterIPNone {
			found.Objects.Headless = service.Name
		} else if role == contract.RoleReplica {
			found.Objects.Replicas = service.Name
		} else if found.Objects.Service == "" || service.Spec.Type == corev1.ServiceTypeNodePort {
			found.Objects.Service = service.Name
		}
	}
	found.Objects.Claim = claimOf(set)
	return found, c.readLogin(ctx, namespace, template, found)
}

func (c *Cluster) findStatefulSet(ctx context.Context, namespace, name string) (*appsv1.StatefulSet, error) {
	if name != "" {
		set, err := c.Apps.StatefulSets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("StatefulSet %s in namespace %s: %w", name, namespace, err)
		}
		return set, nil
	}
	sets, err := c.Apps.StatefulSets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("StatefulSets of namespace %s: %w", namespace, err)
	}
	var candidates []string
	var candidate *appsv1.StatefulSet
	for i := range sets.Items {
		for _, container := range sets.Items[i].Spec.Template.Spec.Containers {
			if strings.Contains(container.Image, "postgres") {
				candidate = &sets.Items[i]
				candidates = append(candidates, candidate.Name)
				break
			}
		}
	}
	switch len(candidates) {
	case 0:
		return nil, fmt.Errorf("namespace %s has no StatefulSet with a postgres image", namespace)
	case 1:
		return candidate, nil
	}
	return nil, fmt.Errorf("namespace %s has more than one PostgreSQL: choose one with --stateful-set %s", namespace, strings.Join(candidates, "|"))
}

// claimOf is the name of the claim that ordinal 0 uses: made from a template, or named outright.
func claimOf(set *appsv1.StatefulSet) string {
	if templates := set.Spec.VolumeClaimTemplates; len(templates) > 0 {
		return fmt.Sprintf("%s-%s-0", templates[0].Name, set.Name)
	}
	for _, volume := range set.Spec.Template.Spec.Volumes {
		if volume.PersistentVolumeClaim != nil {
			return volume.PersistentVolumeClaim.ClaimName
		}
	}
	return ""
}

// readLogin resolves the environment that the official image takes database, user and password
// from.
func (c *Cluster) readLogin(ctx context.Context, namespace string, template *corev1.PodTemplateSpec, found *Found) error {
	container := &template.Spec.Containers[0]
	for i := range template.Spec.Containers {
		if strings.Contains(template.Spec.Containers[i].Image, "postgres") {
			container = &template.Spec.Containers[i]
			break
		}
	}
	for _, port := range container.Ports {
		if port.Name == contract.PortName || port.Name == "postgresql" || len(container.Ports) == 1 {
			found.Port = int(port.ContainerPort)
		}
	}
	environment, err := c.environment(ctx, namespace, container)
	if err != nil {
		return err
	}
	found.User = environment[contract.UserKey]
	if found.User == "" {
		found.User = defaultUser
	}
	found.Database = environment[contract.DatabaseKey]
	if found.Database == "" {
		found.Database = found.User
	}
	found.Password = environment[contract.PasswordKey]
	if file := environment[contract.PasswordFileVariable]; file != "" && found.Password == "" {
		if found.Password, err = c.mountedSecret(ctx, namespace, template, container, file); err != nil {
			return err
		}
	}
	found.Certificate, err = c.mountedCertificate(ctx, namespace, template, container, found.Objects.Service)
	return err
}

func (c *Cluster) environment(ctx context.Context, namespace string, container *corev1.Container) (map[string]string, error) {
	environment := map[string]string{}
	var problems []error
	for _, source := range container.EnvFrom {
		switch {
		case source.ConfigMapRef != nil:
			data, err := c.configMap(ctx, namespace, source.ConfigMapRef.Name)
			problems = append(problems, err)
			for key, value := range data {
				environment[source.Prefix+key] = value
			}
		case source.SecretRef != nil:
			data, err := c.secret(ctx, namespace, source.SecretRef.Name)
			problems = append(problems, err)
			for key, value := range data {
				environment[source.Prefix+key] = string(value)
			}
		}
	}
	for _, variable := range container.Env {
		// Only what is asked for: other variables may refer to what this user may not read.
		if !strings.HasPrefix(variable.Name, imageVariables) {
			continue
		}
		switch source := variable.ValueFrom; {
		case source == nil:
			environment[variable.Name] = variable.Value
		case source.ConfigMapKeyRef != nil:
			data, err := c.configMap(ctx, namespace, source.ConfigMapKeyRef.Name)
			problems = append(problems, err)
			environment[variable.Name] = data[source.ConfigMapKeyRef.Key]
		case source.SecretKeyRef != nil:
			data, err := c.secret(ctx, namespace, source.SecretKeyRef.Name)
			problems = append(problems, err)
			environment[variable.Name] = string(data[source.SecretKeyRef.Key])
		}
	}
	return environment, errors.Join(problems...)
}

func (c *Cluster) configMap(ctx context.Context, namespace, name string) (map[string]string, error) {
	object, err := c.Core.ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read ConfigMap %s: %w", name, err)
	}
	return object.Data, nil
}

func (c *Cluster) secret(ctx context.Context, namespace, name string) (map[string][]byte, error) {
	object, err := c.Core.Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read Secret %s: %w", name, err)
	}
	return object.Data, nil
}

// mountedSecret reads the key of a Secret that is mounted under a file name.
func (c *Cluster) mountedSecret(ctx context.Context, namespace string, template *corev1.PodTemplateSpec, container *corev1.Container, file string) (string, error) {
	for _, mount := range container.VolumeMounts {
		relative, below := strings.CutPrefix(file, strings.TrimSuffix(mount.MountPath, "/")+"/")
		if file == mount.MountPath && mount.SubPath != "" {
			relative, below = mount.SubPath, true
		}
		if !below {
			continue
		}
		for _, volume := range template.Spec.Volumes {
			if volume.Name != mount.Name || volume.Secret == nil {
				continue
			}
			key := path.Clean(relative)
			for _, item := range volume.Secret.Items {
				if item.Path == key {
					key = item.Key
					break
				}
			}
			data, err := c.secret(ctx, namespace, volume.Secret.SecretName)
			if err != nil {
				return "", err
			}
			return string(data[key]), nil
		}
	}
	return "", fmt.Errorf("%s %s is on no mounted Secret: set PGPASSWORD", contract.PasswordFileVariable, file)
}
