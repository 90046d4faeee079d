package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

const (
	// evidenceTarget is how many times as long as a person's own commands verify
	// may take.
	evidenceTarget = 1.2
	// evidenceRows are in the table of the stack.
	evidenceRows = 1000
)

// measureEvidence compares the check of a stack, all evidence, with what a person
// would type for the same facts.
func measureEvidence(ctx context.Context, b *bench) (findings, error) {
	if err := lookForPsql(); err != nil {
		return findings{}, err
	}
	b.say("check of a stack, %s rows: first update", grouped(evidenceRows))
	s, err := b.newRunningServer(ctx, b.Workspace)
	if err != nil {
		return findings{}, err
	}
	if err := s.Run(ctx, b.Verify, "fill", "--rows", strconv.Itoa(evidenceRows), "--stack", s.Name, "--ledger", s.Ledger()).Err(); err != nil {
		return findings{}, err
	}
	m := series{}
	check := s.command(s.CheckArguments()...)
	outputs := s.command("pulumi", "stack", "output", "--json", "--show-secrets", "--stack", s.Name)
	objects := s.kubectl("get", "statefulsets,pods,services,endpointslices,persistentvolumeclaims,persistentvolumes", "--output=json")
	rows := s.psql("--command", "select count(*) from verify.rows", "--command", "table verify.rows")
	for _, warm := range []step{check, outputs, objects, rows} {
		if _, err := warm(ctx); err != nil {
			return findings{}, err
		}
	}
	for run := range b.runs {
		b.say("check of a stack, %s rows: %d of %d", grouped(evidenceRows), run+1, b.runs)
		if err := errors.Join(m.add(ctx, "by hand", outputs, objects, rows), m.add(ctx, "verify check", check)); err != nil {
			return findings{}, err
		}
	}
	return findings{
		rows: []row{beside("`verify check` of a stack, all evidence", m["verify check"],
			"`pulumi stack output`, `kubectl get`, `psql`", m["by hand"], evidenceTarget)},
		notes: []string{fmt.Sprintf("A stack: 1 replica, %s rows, verify built. By hand, one after the other: `pulumi stack output --json --show-secrets`, "+
			"`kubectl get` of the kinds of objects that verify reads, in one command, and `psql` for the count and every row. verify also writes ten rows and reads them back, looks at the log, and enters all in its ledger.",
			grouped(evidenceRows))},
	}, s.Remove(ctx)
}
