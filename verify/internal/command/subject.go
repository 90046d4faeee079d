package command

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/internal/contract"
	"stateful-postgres/internal/kubeconfig"
	"stateful-postgres/verify/internal/check"
	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/pulumicli"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/server"
)

// subject is what a command is about, and where its ledger lies.
type subject struct {
	check.Subject
	ledger string
	// project is the Pulumi project's folder; empty without Pulumi.
	project string
	// stack is the name of the Pulumi stack; empty without Pulumi.
	stack string
	// source is the way to the cluster; the zero value without one, and for what kubectl uses.
	source kubeconfig.Source
}

// find says what the command is about: a server given by its address, a namespace, or a stack.
func (s *settings) find(ctx context.Context) (*subject, error) {
	switch {
	case s.dsn != "":
		return s.findByDSN(s.dsn)
	case s.namespace != "":
		return s.findByNamespace(ctx)
	}
	directory, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	project, err := pulumicli.FindProject(directory)
	if err != nil {
		if os.Getenv("PGHOST") != "" || os.Getenv("PGSERVICE") != "" {
			return s.findByDSN("")
		}
		return nil, err
	}
	return s.findByStack(ctx, project)
}

func (s *settings) findByDSN(dsn string) (*subject, error) {
	config, err := server.ConfigFromDSN(dsn)
	if err != nil {
		return nil, usageError{fmt.Sprintf("--dsn: %v", err)}
	}
	if holds, err := server.HoldsPassword(dsn); err != nil || holds {
		return nil, usageError{"--dsn holds a password, which every user of this machine can see in the process list: put it into PGPASSWORD or ~/.pgpass"}
	}
	address := config.Host
	if !strings.HasPrefix(config.Host, "/") {
		address = net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
	}
	found := &subject{Subject: check.Subject{
		Config: func([]string) (*pgx.ConnConfig, error) { return config, nil },
		Target: report.Target{Database: config.Database, Address: address},
	}}
	found.ledger, err = s.ledgerOutside("server", address, config.Database)
	return found, err
}

func (s *settings) findByNamespace(ctx context.Context) (*subject, error) {
	source := kubeconfig.Source{Context: s.context}
	client, err := kubernetes.Connect(source)
	if err != nil {
		return nil, err
	}
	discovered, err := client.Discover(ctx, s.namespace, s.statefulSet)
	if err != nil {
		return nil, err
	}
	password := discovered.Password
	if given := os.Getenv("PGPASSWORD"); given != "" {
		password = given
	}
	var encryption *server.TLS
	if discovered.Certificate != nil {
		encryption = &server.TLS{Authority: discovered.Certificate.Authority, ServerName: discovered.Certificate.Name}
	}
	found := &subject{source: source, Subject: check.Subject{
		Cluster: client,
		Objects: discovered.Objects,
		Via:     s.via,
		Port:    discovered.Port,
		Config:  configWith(discovered.Database, discovered.User, password, encryption),
		Target:  report.Target{Namespace: s.namespace, StatefulSet: discovered.Objects.StatefulSet, Database: discovered.Database},
	}}
	found.ledger, err = s.ledgerOutside("cluster", client.Config.Host, s.namespace, discovered.Objects.StatefulSet)
	return found, err
}

func (s *settings) findByStack(ctx context.Context, project string) (*subject, error) {
	deployed, err := pulumicli.Read(ctx, project, s.stack)
	if err != nil {
		return nil, err
	}
	outputs := deployed.Outputs
	source := kubeconfig.Source{Kubeconfig: outputs.Kubeconfig, Context: outputs.Context, Cluster: outputs.Cluster}
	if s.context != "" {
		// Whoever names a context means its own cluster, too.
		source.Context, source.Cluster = s.context, ""
	}
	client, err := kubernetes.Connect(source)
	if err != nil {
		return nil, err
	}
	var encryption *server.TLS
	if outputs.TLS {
		encryption = &server.TLS{Authority: outputs.CACertificate, ServerName: outputs.TLSServerName}
	}
	found := &subject{
		Subject: check.Subject{
			Cluster: client,
			Objects: kubernetes.Objects{
				Namespace: outputs.Namespace, StatefulSet: outputs.StatefulSet,
				Service: outputs.Service, Headless: outputs.HeadlessService, Claim: outputs.Claim,
				HighAvailability: outputs.HighAvailability,
			},
			Desired: &outputs.Replicas,
			Via:     s.via,
			Port:    outputs.Port,
			Config:  configWith(outputs.Database, outputs.User, outputs.Password, encryption),

			RequireTLS: outputs.RequireTLS,
			Target: report.Target{
				Stack: deployed.Name, Namespace: outputs.Namespace, StatefulSet: outputs.StatefulSet,
				Replicas: &outputs.Replicas, Database: outputs.Database,
			},
		},
		ledger:  filepath.Join(project, ".local", "verify", fileName(deployed.Name), "ledger"),
		project: project,
		stack:   deployed.Name,
		source:  source,
	}
	if outputs.HighAvailability {
		found.Objects.Replicas = contract.ReplicasService
	}
	if s.ledger != "" {
		found.ledger = s.ledger
	}
	return found, nil
}

func configWith(database, user, password string, encryption *server.TLS) func([]string) (*pgx.ConnConfig, error) {
	return func(addresses []string) (*pgx.ConnConfig, error) {
		return server.Config(addresses, database, user, password, encryption)
	}
}

// ledgerOutside is the place of a ledger that belongs to no project.
func (s *settings) ledgerOutside(identity ...string) (string, error) {
	if s.ledger != "" {
		return s.ledger, nil
	}
	state := os.Getenv("XDG_STATE_HOME")
	if state == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", usageError{fmt.Sprintf("no place for the ledger (%v): set --ledger", err)}
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "stateful-postgres", "verify", fileName(strings.Join(identity, "_")), "ledger"), nil
}

// others are the ledgers beside one that knows no rows yet, unless somebody chose that one.
func (s *settings) others(found *subject, entries *ledger.Ledger) []check.Other {
	if s.ledger != "" || entries.State().Required() > 0 {
		return nil
	}
	folders := filepath.Dir(filepath.Dir(found.ledger))
	names, err := os.ReadDir(folders)
	if err != nil {
		return nil
	}
	var paths []string
	for _, name := range names {
		paths = append(paths, filepath.Join(folders, name.Name(), filepath.Base(found.ledger)))
	}
	return check.Known(paths, found.ledger)
}

// fileName keeps what is harmless in the name of a folder.
func fileName(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '.':
			return r
		}
		return '_'
	}, text)
}
