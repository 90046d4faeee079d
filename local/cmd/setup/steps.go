package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/internal/setup/host"
	"stateful-postgres/local/internal/setup/pulumi"
	"stateful-postgres/local/internal/setup/tool"
	"stateful-postgres/local/internal/status"
)

// setup is what the steps share.
type setup struct {
	layout layout.Layout
	facts  host.Facts
	status *status.Status
}

// checkHost refuses a machine that cannot run the local cluster, before
// anything on it is touched.
func checkHost() (host.Facts, error) {
	if err := host.CompletePath(); err != nil {
		return host.Facts{}, err
	}
	facts, err := host.Inspect()
	if err != nil {
		return host.Facts{}, err
	}
	if missing := facts.Missing(); len(missing) > 0 {
		return host.Facts{}, fmt.Errorf("the local cluster needs %s; with a cluster and a Pulumi CLI (%s or newer) of your own run `make demo CONTEXT=name`, where name is its kubeconfig context",
			strings.Join(missing, " and "), pulumi.MinVersion)
	}
	return facts, nil
}

// step runs work with a log of its own under the name that is shown.
func (s setup) step(title, log string, work func(log *tool.Log, update func(string)) error) error {
	return s.status.Step(title, func(update func(string)) error {
		file, err := tool.OpenLog(filepath.Join(s.layout.Logs(), "setup-"+log+".log"))
		if err != nil {
			return err
		}
		defer file.Close()
		return work(file, update)
	})
}

func (s setup) packages(ctx context.Context) error {
	missing := s.facts.MissingPackages()
	if len(missing) == 0 && !host.Interrupted() {
		return nil
	}
	return s.step("Debian packages installed", "packages", func(log *tool.Log, update func(string)) error {
		return host.Install(ctx, log, missing, update)
	})
}
