package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"stateful-postgres/internal/faults"
	"stateful-postgres/verify/internal/ledger"
	"stateful-postgres/verify/internal/report"
)

const (
	// clientKill is the fault that happens to verify itself.
	clientKill = "client-kill"
	// clientRows are acknowledged before a client is killed.
	clientRows    = 500
	clientTimeout = 2 * time.Minute
	clientPoll    = 50 * time.Millisecond
)

// killClient returns a fault: another verify that writes, with a ledger of its own, is killed, and its
// next run has to account for what it left.
func (s *durabilitySettings) killClient(found *subject) func(context.Context, *faults.Servers) (*faults.Struck, error) {
	path := filepath.Join(filepath.Dir(found.ledger), "killed-client.ledger")
	return func(ctx context.Context, _ *faults.Servers) (*faults.Struck, error) {
		struck := &faults.Struck{Victims: []string{"verify"}}
		program, err := os.Executable()
		if err != nil {
			return nil, err
		}
		target := []string{"--ledger", path, "--via", s.via}
		for _, pair := range [][2]string{{"--stack", found.stack}, {"--context", s.context}, {"--namespace", s.namespace}, {"--stateful-set", s.statefulSet}} {
			if pair[1] != "" {
				target = append(target, pair[0], pair[1])
			}
		}
		before := acknowledgedIn(path)
		client := exec.CommandContext(ctx, program, append([]string{"durability", "--fault", noFault, "--duration", "1h"}, target...)...)
		var said bytes.Buffer
		client.Stdout, client.Stderr = &said, &said
		if err := client.Start(); err != nil {
			return nil, err
		}
		running, over := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { defer over(); ended <- client.Wait() }()
		err = faults.UntilEvery(running, clientPoll, "another verify to write", clientTimeout, func(context.Context) (string, bool) {
			now := acknowledgedIn(path)
			return fmt.Sprintf("%d rows acknowledged", now-before), now >= before+clientRows
		})
		killed := client.Process.Kill()
		how := <-ended
		switch {
		case ctx.Err() != nil:
			return struck, ctx.Err()
		case killed != nil:
			return struck, fmt.Errorf("the other verify ended by itself (%v): %s", how, strings.TrimSpace(said.String()))
		case err != nil:
			return struck, fmt.Errorf("%w; it said: %s", err, strings.TrimSpace(said.String()))
		}
		return struck, account(ctx, program, target)
	}
}

// acknowledgedIn is how many rows a ledger knows to be acknowledged; 0 where there is none.
func acknowledgedIn(path string) int64 {
	state, err := ledger.Read(path)
	if err != nil {
		return 0
	}
	return state.Count(ledger.Acknowledged)
}

// account lets verify look at what a killed one has left.
func account(ctx context.Context, program string, target []string) error {
	look := exec.CommandContext(ctx, program, append([]string{"check", "--rows", "0", "--output", "json"}, target...)...)
	said, err := look.Output()
	var found report.Report
	if unread := json.Unmarshal(said, &found); unread != nil {
		return errors.Join(err, fmt.Errorf("the next verify after one that was killed said nothing that can be read: %w", unread))
	}
	if found.Verdict != report.Proven {
		problem := fmt.Errorf("the next verify after one that was killed: %s: %s", found.Verdict, found.Summary)
		for _, c := range found.Checks {
			if c.Status == report.Violated || c.Status == report.Unknown {
				problem = fmt.Errorf("%w; %s: %s", problem, c.Name, c.Detail)
			}
		}
		return problem
	}
	return nil
}
