package observe

import (
	"fmt"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/components/settings"
)

// Stack observes the cluster that a way leads to, and the stack's state. Without a
// cluster to look at (manifests rendered to files, unit tests) it finds nothing.
func Stack(ctx *pulumi.Context, way Way, args settings.Args, componentType, name string) (Observation, error) {
	now := time.Now()
	_, rendering := ctx.GetConfig("kubernetes:renderYamlToDirectory")
	state := Observation{}
	if ctx.RunningWithMocks() {
		return Observation{Time: now, NoCluster: true, Rendering: rendering}, nil
	}
	var seen Observation
	err := first(together([]func() error{
		func() error { state.lookAtState(ctx, componentType, name); return nil },
		func() (err error) {
			if rendering {
				seen = Observation{NoCluster: true, Rendering: true}
				return nil
			}
			if !way.Known {
				seen = Observation{NoCluster: true, Warnings: []string{
					"the kubeconfig is not known yet, so nothing can be looked at before the update; the update looks once its cluster is there"}}
				return nil
			}
			seen, err = lookAtCluster(ctx, way, args)
			return err
		},
	}))
	seen.Time, seen.Last, seen.NamespaceInState = now, state.Last, state.NamespaceInState
	seen.Warnings = append(state.Warnings, seen.Warnings...)
	return seen, err
}

func lookAtCluster(ctx *pulumi.Context, way Way, args settings.Args) (Observation, error) {
	seen, err := func() (Observation, error) {
		config, err := way.RESTConfig()
		if err != nil {
			return Observation{}, fmt.Errorf("%w; nothing was changed; correct kubernetes:context or kubernetes:kubeconfig; "+
				"see: kubectl config get-contexts", err)
		}
		clients, err := Connect(config)
		if err != nil {
			return Observation{}, err
		}
		seen, err := Cluster(ctx.Context(), clients, Query{
			Namespace: args.Namespace, Volume: args.VolumeName, CertificateSecret: args.CertificateSecret(), Replicas: *args.Replicas,
		})
		seen.Server = config.Host
		if err != nil {
			return seen, explained(err, config.Host)
		}
		return seen, nil
	}()
	if err == nil {
		return seen, nil
	}
	for _, key := range []string{"deleteUnreachable", "skipUpdateUnreachable"} {
		if value, _ := ctx.GetConfig("kubernetes:" + key); value == "true" {
			return Observation{NoCluster: true}, nil
		}
	}
	return Observation{}, err
}
