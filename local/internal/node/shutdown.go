package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	remote "k8s.io/cri-client/pkg"
)

const (
	// stopGrace is how long a container may take to end by itself when its
	// node is stopped.
	stopGrace = 60 * time.Second
	// stopTimeout is for all of them, with what the runtime adds.
	stopTimeout = stopGrace + 15*time.Second
)

// stopPods gives every container the time to end by itself, all at once, and
// takes the pods' networks away. The kubelet does this only with a systemd to
// tell it of the shutdown.
func stopPods() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	runtime, err := remote.NewRemoteRuntimeService("unix://"+containerdSocket, stopTimeout, nil, nil)
	if err != nil {
		return err
	}
	containers, err := runtime.ListContainers(ctx, &runtimeapi.ContainerFilter{
		State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
	})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	errs := make([]error, len(containers))
	var group sync.WaitGroup
	for i, container := range containers {
		group.Go(func() {
			if err := runtime.StopContainer(ctx, container.Id, int64(stopGrace.Seconds())); err != nil {
				errs[i] = fmt.Errorf("stop container %s: %w", container.Metadata.GetName(), err)
			}
		})
	}
	group.Wait()
	sandboxes, err := runtime.ListPodSandbox(ctx, nil)
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("list pods: %w", err))...)
	}
	for _, sandbox := range sandboxes {
		if err := runtime.StopPodSandbox(ctx, sandbox.Id); err != nil {
			errs = append(errs, fmt.Errorf("stop pod %s: %w", sandbox.Metadata.GetName(), err))
		}
	}
	return errors.Join(errs...)
}
