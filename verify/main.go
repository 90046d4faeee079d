// Command verify proves, from outside, that a PostgreSQL on Kubernetes kept its data.
package main

import (
	"io"
	"os"

	"k8s.io/klog/v2"

	"stateful-postgres/verify/internal/command"
)

func main() {
	// client-go logs to stderr by itself; whatever matters of it reaches the report as an error.
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	os.Exit(command.Run(os.Args[1:], command.Streams{Out: os.Stdout, Err: os.Stderr}))
}
