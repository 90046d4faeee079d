package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"stateful-postgres/internal/stack"
)

const (
	// mostRounds is how often each fault strikes in one run of verify durability at most: then all rows
	// are read.
	mostRounds = 2
	// mostFailures is after how many such runs in a row a lane ends.
	mostFailures = 3
	writers      = 4
)

// lane is a stack with disks of its own, which is struck by one fault after the other.
type lane struct {
	*stack.Stack
	group   *group
	soak    *soak
	name    string
	servers int
	// faults are those that can strike it, by their kinds, own the kinds that strike it alone.
	faults map[string][]string
	own    []string
	// on are the nodes of its servers when it last began to write while others strike.
	on []string
	// failures are the runs in a row that proved nothing, and in which no fault came to its end. A lane that is over is struck no more.
	failures int
	over     bool
}

// open makes the lane's stack, and deploys it.
func (l *lane) open(ctx context.Context) (err error) {
	if l.Stack, err = l.soak.NewStack(ctx, "lane-"+l.name); err != nil {
		return err
	}
	if _, err := l.OwnDisks(ctx, l.servers); err != nil {
		return err
	}
	// Single servers stay together as far as they can, so that what happens to their node strikes all.
	const prefer = "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0]"
	if l.servers == 1 {
		for path, value := range map[string]string{
			prefer + ".weight": "100", prefer + ".preference.matchExpressions[0].key": "kubernetes.io/hostname",
			prefer + ".preference.matchExpressions[0].operator": "In", prefer + ".preference.matchExpressions[0].values[0]": l.group.nodes[0],
		} {
			if err := l.SetPath(ctx, path, value).Err(); err != nil {
				return err
			}
		}
	}
	for path, value := range map[string]string{
		"highAvailability": fmt.Sprint(l.servers > 1), "separateNodes": fmt.Sprint(l.servers > 1), "replicas": "1",
		"nodeSelector." + groupLabel: l.group.name, "tolerations[0].key": groupLabel, "tolerations[0].operator": "Exists",
	} {
		if err := l.SetPath(ctx, path, value).Err(); err != nil {
			return err
		}
	}
	for _, servers := range []int{1, l.servers} {
		if err := errors.Join(l.Set(ctx, "replicas", fmt.Sprint(servers)).Err(), l.Up(ctx).Err()); err != nil {
			return err
		}
	}
	return l.list(ctx)
}

// list finds the faults that can strike.
func (l *lane) list(ctx context.Context) error {
	listed := l.Run(ctx, l.DurabilityArguments("--list-faults")...)
	if err := listed.Err(); err != nil {
		return err
	}
	l.faults = map[string][]string{}
	for line := range strings.Lines(listed.Stdout) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "✓" || !l.soak.pattern.MatchString(words[1]) {
			continue
		}
		kind := l.soak.results.kind(words[1])
		if l.faults[kind] == nil && !l.soak.results.faults[words[1]].OfNodes {
			l.own = append(l.own, kind)
		}
		l.faults[kind] = append(l.faults[kind], words[1])
	}
	if len(l.faults) == 0 {
		return fmt.Errorf("-fault %s: matches nothing that can strike %s: see verify durability --list-faults", l.soak.pattern, plural(l.servers, "server"))
	}
	return nil
}

// history is the file for the history of a run that begins at a moment.
func (l *lane) history(began time.Time) string {
	return filepath.Join(l.soak.folder, fmt.Sprintf("%s-%s.json.gz", began.UTC().Format("20060102T150405Z"), l.name))
}

// write is the part of its flags that says how it writes.
func (l *lane) write(history string) []string {
	return []string{"--output", "json", "--writers", fmt.Sprint(writers), "--rate", fmt.Sprint(l.soak.rate), "--history", history}
}

// choose chooses a fault of each kind that can strike this lane, for a role at random.
func (l *lane) choose(kinds []string) []string {
	var names []string
	for _, kind := range kinds {
		roles := map[string][]string{}
		for _, name := range l.faults[kind] {
			role, _, _ := strings.Cut(name, kind)
			roles[role] = append(roles[role], name)
		}
		if of := slices.Sorted(maps.Keys(roles)); len(of) > 0 {
			some := roles[of[rand.IntN(len(of))]]
			names = append(names, some[rand.IntN(len(some))])
		}
	}
	return names
}

// round runs verify durability once.
func (l *lane) round(ctx context.Context, names []string, times int) record {
	began := time.Now()
	history := l.history(began)
	result := l.Run(ctx, l.DurabilityArguments(append(l.write(history), "--fault", strings.Join(names, ","), "--times", fmt.Sprint(times), "--every", "1s")...)...)
	return l.record(began, history, result)
}

// note keeps what a round found, and shows it.
func (l *lane) note(ctx context.Context, r record, kinds []string, times int) error {
	if err := l.soak.results.add(r, kinds, times); err != nil {
		return err
	}
	l.say(r)
	switch {
	case ctx.Err() != nil:
	case r.ExitCode == 0, slices.ContainsFunc(r.Durability.Faults, func(f stack.DurabilityFault) bool { return f.Problem == "" }):
		l.failures = 0
	case r.ExitCode == exitViolated:
		// Whatever comes next would tell of the same rows.
		l.over = true
	default:
		if l.failures++; l.failures == mostFailures {
			l.over = true
			say("%s: is struck no more: in %d runs in a row no fault came to its end", l.name, l.failures)
		}
	}
	return nil
}

// record is what a run of verify said.
func (l *lane) record(began time.Time, history string, result stack.Result) record {
	r := record{Servers: l.servers, Lane: l.name, Commit: l.soak.commit, Began: began.UTC(), Seconds: result.Duration.Seconds(), ExitCode: result.ExitCode, History: filepath.Base(history)}
	// What is kept is for readers elsewhere: files are named from the top of the checkout.
	said := strings.ReplaceAll(result.Stdout, l.soak.Root+string(filepath.Separator), "")
	var err error
	if r.Proof, err = stack.ReadProof(said); err != nil {
		r.Summary = "verify said nothing that can be read"
		fmt.Fprintln(os.Stderr, result)
		return r
	}
	for _, check := range r.Checks {
		if check.Status == "violated" || check.Status == "unknown" {
			r.Problems = append(r.Problems, fmt.Sprintf("%s: %s", check.Name, check.Detail))
		}
	}
	r.Checks = nil
	return r
}

// say shows what a round amounts to, and what is left.
func (l *lane) say(r record) {
	say("%s: exit code %d after %s: %s", l.name, r.ExitCode, time.Duration(r.Seconds*float64(time.Second)).Round(time.Second), r.Summary)
	for _, problem := range r.Problems {
		say("%s:   %s", l.name, problem)
	}
	say("%s: %s", plural(l.servers, "server"), l.soak.results.progress(l.servers))
}
