package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stateful-postgres/internal/contract"
)

// Agreement is what the ConfigMaps of Patroni say: who takes the writes, and how the servers behave.
type Agreement struct {
	// Leader is the pod that takes the writes; empty when nobody does.
	Leader string
	// SyncLeader and Standbys are the pods that have every acknowledged write. SyncLeader is empty
	// when that is not known.
	SyncLeader string
	Standbys   []string
	// Synchronous says whether a commit waits for a standby, and Strict whether it waits also while
	// there is none. Count is for how many.
	Synchronous, Strict bool
	Count               int
	// Unseen are the ConfigMaps that this user may not read, Missing those that do not exist, and
	// Wrong is what could not be understood.
	Unseen, Missing []string
	Wrong           string
}

// Trusted are the pods that have every acknowledged write.
func (a *Agreement) Trusted() []string {
	if a.SyncLeader == "" {
		return nil
	}
	return append([]string{a.SyncLeader}, a.Standbys...)
}

// Knows says whether the ConfigMap of a name was read.
func (a *Agreement) Knows(name string) bool {
	return !slices.Contains(a.Unseen, name) && !slices.Contains(a.Missing, name)
}

// observeAgreement reads the ConfigMaps. What may not be read is noted: it says nothing about the
// servers.
func (c *Cluster) observeAgreement(ctx context.Context, namespace string) (*Agreement, error) {
	names := []string{contract.MembersLeader, contract.MembersSync, contract.MembersConfig}
	found := make([]map[string]string, len(names))
	problems := make([]error, len(names))
	var reads sync.WaitGroup
	for i, name := range names {
		reads.Go(func() {
			object, err := c.Core.ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
			if err == nil {
				found[i] = object.Annotations
			}
			problems[i] = err
		})
	}
	reads.Wait()
	a := &Agreement{}
	for i, name := range names {
		switch err := problems[i]; {
		case apierrors.IsForbidden(err):
			a.Unseen = append(a.Unseen, name)
		case apierrors.IsNotFound(err):
			a.Missing = append(a.Missing, name)
		case err != nil:
			return nil, fmt.Errorf("ConfigMap %s: %w", name, err)
		}
	}
	a.Leader = found[0][contract.MembersLeaderKey]
	a.SyncLeader = found[1][contract.MembersLeaderKey]
	a.Standbys = contract.Standbys(found[1])
	if a.Knows(contract.MembersConfig) {
		a.readConfig(found[2][contract.MembersConfigKey])
	}
	return a, nil
}

// readConfig reads Patroni's dynamic configuration. A value that is missing is Patroni's default.
func (a *Agreement) readConfig(text string) {
	config := struct {
		Synchronous any  `json:"synchronous_mode"`
		Strict      bool `json:"synchronous_mode_strict"`
		Count       int  `json:"synchronous_node_count"`
	}{Count: 1}
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		a.Wrong = fmt.Sprintf("annotation %s of ConfigMap %s: %v", contract.MembersConfigKey, contract.MembersConfig, err)
		return
	}
	// It is true, false or "quorum".
	a.Synchronous = config.Synchronous != nil && config.Synchronous != false && config.Synchronous != "off"
	a.Strict, a.Count = config.Strict, config.Count
}

// Role is what Patroni has written on a pod: one of package contract's, or empty.
func Role(pod *corev1.Pod) string { return pod.Labels[contract.LabelRole] }

// PrimaryPod returns the pod whose server takes the writes: with several servers the ready one that
// Patroni says so of, else the one that is ready. It is nil when there is none.
func (o *Observation) PrimaryPod() *corev1.Pod {
	for i := range o.Pods {
		pod := &o.Pods[i]
		if IsReady(pod) && (!o.Objects.HighAvailability || Role(pod) == contract.RolePrimary) {
			return pod
		}
	}
	return nil
}

// Pod returns the pod of a name, or nil.
func (o *Observation) Pod(name string) *corev1.Pod {
	for i := range o.Pods {
		if o.Pods[i].Name == name {
			return &o.Pods[i]
		}
	}
	return nil
}

// EndpointPods are the names of the pods that a Service leads to, sorted; of an endpoint that is none
// of the server's pods, its address.
func (o *Observation) EndpointPods(service string) []string {
	var names []string
	for _, slice := range o.Slices[service] {
		for _, endpoint := range slice.Endpoints {
			if !takesConnections(endpoint) {
				continue
			}
			if ref := endpoint.TargetRef; ref != nil && ref.Kind == "Pod" {
				names = append(names, ref.Name)
				continue
			}
			for _, address := range endpoint.Addresses {
				names = append(names, o.podAt(address))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// podAt is the name of the pod with an address, or the address.
func (o *Observation) podAt(address string) string {
	for i := range o.Pods {
		if o.Pods[i].Status.PodIP == address {
			return o.Pods[i].Name
		}
	}
	return address
}
