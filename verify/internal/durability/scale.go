package durability

import (
	"context"

	"stateful-postgres/internal/faults"
)

// Deployer changes the number of replicas.
type Deployer interface {
	Scale(ctx context.Context, replicas int) error
	Restore(ctx context.Context) error
}

// Scale returns a fault that deploys one number of replicas after the other, and at the end what the
// settings say.
func Scale(deployer Deployer, steps []int) func(context.Context, *faults.Servers) (*faults.Struck, error) {
	return func(ctx context.Context, s *faults.Servers) (*faults.Struck, error) {
		struck := &faults.Struck{Victims: s.Pods(), Undo: deployer.Restore}
		for i, replicas := range steps {
			if i == len(steps)-1 && replicas == s.Replicas {
				// The settings say so, too.
				break
			}
			if err := deployer.Scale(ctx, replicas); err != nil {
				return struck, err
			}
		}
		return struck, nil
	}
}
