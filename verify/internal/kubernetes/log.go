package kubernetes

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stateful-postgres/internal/contract"
)

// The start of a server is at the start of its container's log.
const startOfLog = 1 << 20

// Shutdown is how a server went down before it came up.
type Shutdown int

const (
	// ShutdownUnseen: the log does not tell.
	ShutdownUnseen Shutdown = iota
	// ShutdownClean: it wrote its shutdown checkpoint.
	ShutdownClean
	// ShutdownCrash: it recovered from the write-ahead log.
	ShutdownCrash
)

// LastShutdown reads from the log of a pod's container how the server had gone down before the
// start that the container runs, and returns the line that says so. since is when the server
// started, where the container may have run others before it; else it is zero.
func (c *Cluster) LastShutdown(ctx context.Context, pod *corev1.Pod, since time.Time) (Shutdown, string, error) {
	open := c.OpenLog
	if open == nil {
		open = func(ctx context.Context, pod *corev1.Pod) (io.ReadCloser, error) { return c.openLog(ctx, pod, since) }
	}
	stream, err := open(ctx, pod)
	if err != nil {
		return ShutdownUnseen, "", fmt.Errorf("log of pod %s: %w", pod.Name, err)
	}
	defer stream.Close()
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, startOfLog)
	shutdown, said := ShutdownUnseen, ""
	for lines.Scan() {
		line := lines.Text()
		switch {
		// An entrypoint may start the server more than once; the last start counts.
		case strings.Contains(line, "database system was shut down"):
			shutdown, said = ShutdownClean, line
		case strings.Contains(line, "database system was not properly shut down"),
			strings.Contains(line, "database system was interrupted"):
			shutdown, said = ShutdownCrash, line
		}
	}
	if err := lines.Err(); err != nil {
		return ShutdownUnseen, "", fmt.Errorf("log of pod %s: %w", pod.Name, err)
	}
	return shutdown, said, nil
}

// serverContainer is the container that runs the server: the one named so, or the first.
func serverContainer(pod *corev1.Pod) string {
	for _, container := range pod.Spec.Containers {
		if container.Name == contract.Container || container.Name == "postgresql" {
			return container.Name
		}
	}
	return pod.Spec.Containers[0].Name
}

func (c *Cluster) openLog(ctx context.Context, pod *corev1.Pod, since time.Time) (io.ReadCloser, error) {
	limit := int64(startOfLog)
	options := &corev1.PodLogOptions{Container: serverContainer(pod), LimitBytes: &limit}
	if !since.IsZero() {
		from := metav1.NewTime(since)
		options.SinceTime = &from
	}
	return c.Core.Pods(pod.Namespace).GetLogs(pod.Name, options).Stream(ctx)
}
