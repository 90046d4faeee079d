// Package handover lets the first server take the writes before an update stops
// others.
package handover

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"stateful-postgres/components/internal/budget"
	"stateful-postgres/internal/contract"
)

// interval is between two looks at who takes the writes.
const interval = 250 * time.Millisecond

// ToFirst returns when the server of pod 0 takes the writes. It asks for that as
// Patroni's own commands do, with the ConfigMap of the wished failover, which
// Patroni carries out only if the server has every acknowledged write. members is
// how many servers there are: until the first has every write, all are made to.
func ToFirst(ctx context.Context, configMaps corev1client.ConfigMapInterface, members int) (err error) {
	ctx, cancel := context.WithTimeout(ctx, budget.Handover)
	defer cancel()
	h := handover{configMaps: configMaps, first: contract.PodName(0), members: members}
	defer func() {
		// Also when the time is up.
		if restored := h.restore(context.WithoutCancel(ctx)); err == nil {
			err = restored
		}
	}()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	seen := "nothing yet"
	for {
		done, step, err := h.step(ctx)
		switch {
		case done:
			return nil
		case err == nil:
			seen = step
		case ctx.Err() == nil:
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not take the writes after %s, so no server was stopped; last seen: %s", h.first, budget.Handover, seen)
		case <-ticker.C:
		}
	}
}

type handover struct {
	configMaps corev1client.ConfigMapInterface
	first      string
	members    int
	// before is the configuration as it was, "" unless it was changed.
	before string
}

// step looks once, and asks for what is missing.
func (h *handover) step(ctx context.Context) (done bool, seen string, err error) {
	leader, err := h.annotations(ctx, contract.MembersLeader)
	if err != nil {
		return false, "", err
	}
	sync, err := h.annotations(ctx, contract.MembersSync)
	if err != nil {
		return false, "", err
	}
	primary := leader[contract.MembersLeaderKey]
	switch {
	case primary == h.first && sync[contract.MembersLeaderKey] == h.first:
		return true, "", nil
	case primary == "" || primary == h.first:
		return false, "nobody takes the writes", nil
	case slices.Contains(contract.Standbys(sync), h.first):
		return false, primary + " hands over", h.annotate(ctx, contract.MembersFailover, map[string]any{
			contract.MembersLeaderKey: primary, contract.MembersCandidateKey: h.first,
		})
	}
	return false, fmt.Sprintf("%s takes the writes, and %s does not have all of them yet", primary, h.first), h.includeAll(ctx)
}

// includeAll makes the primary wait for all servers.
func (h *handover) includeAll(ctx context.Context) error {
	if h.before != "" {
		return nil
	}
	config, err := h.annotations(ctx, contract.MembersConfig)
	if err != nil {
		return err
	}
	var behaviour map[string]any
	if err := json.Unmarshal([]byte(config[contract.MembersConfigKey]), &behaviour); err != nil {
		return fmt.Errorf("config map %s: %w", contract.MembersConfig, err)
	}
	behaviour["synchronous_node_count"] = max(h.members-1, 1)
	text, err := json.Marshal(behaviour)
	if err != nil {
		return err
	}
	h.before = config[contract.MembersConfigKey]
	return h.annotate(ctx, contract.MembersConfig, map[string]any{contract.MembersConfigKey: string(text)})
}

func (h *handover) restore(ctx context.Context) error {
	if h.before == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, budget.Look)
	defer cancel()
	return h.annotate(ctx, contract.MembersConfig, map[string]any{contract.MembersConfigKey: h.before})
}

func (h *handover) annotations(ctx context.Context, name string) (map[string]string, error) {
	found, err := h.configMaps.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("config map %s: %w", name, err)
	}
	return found.Annotations, nil
}

func (h *handover) annotate(ctx context.Context, name string, annotations map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		return err
	}
	if _, err := h.configMaps.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("config map %s: %w", name, err)
	}
	return nil
}
