package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"stateful-postgres/internal/contract"
)

// Targets of this section.
const (
	scaleTarget       = 1.5
	scaleToZeroTarget = 1.0
	firstUpTarget     = 2.0
	previewTarget     = 1500 * time.Millisecond
	nothingTarget     = time.Second
	memoryTarget      = 3 << 30
)

// The lab's three statements.
const labStatements = `create table if not exists lab (id serial primary key, note text);
insert into lab (note) values ('hello');
select count(*) from lab;`

// measureFirstUp makes stacks from nothing, and each one's objects once more
// with kubectl alone.
func measureFirstUp(ctx context.Context, b *bench) (findings, error) {
	m := series{}
	runs := min(b.runs, longRuns)
	for run := range runs {
		b.say("first update of a stack: %d of %d", run+1, runs)
		s, err := b.newServer(ctx, b.Workspace)
		if err != nil {
			return findings{}, err
		}
		if err := m.add(ctx, "pulumi", s.command(s.UpArguments()...), s.untilAnswer); err != nil {
			return findings{}, err
		}
		file, err := s.writeManifests(ctx)
		if err != nil {
			return findings{}, err
		}
		if err := s.RemoveAndWait(ctx); err != nil {
			return findings{}, err
		}
		if err := m.add(ctx, "kubectl", s.command("kubectl", "apply", "--filename", file), s.untilAnswer); err != nil {
			return findings{}, err
		}
		if err := s.RemoveAndWait(ctx); err != nil {
			return findings{}, err
		}
	}
	return findings{
		rows:  []row{beside("first `pulumi up` of a stack", m["pulumi"], "`kubectl apply`", m["kubectl"], firstUpTarget)},
		notes: []string{"First update, and `kubectl apply` of the same objects: until the server answers SQL. The image is on the node."},
	}, nil
}

// measureScaling compares `pulumi up` with kubectl.
func measureScaling(ctx context.Context, b *bench) (findings, error) {
	s, err := b.sharedServer(ctx)
	if err != nil {
		return findings{}, err
	}
	alone, err := b.engineAlone(ctx)
	if err != nil {
		return findings{}, err
	}
	m := series{}
	for run := range b.runs {
		b.say("scale: %d of %d", run+1, b.runs)
		if err := errors.Join(
			s.cycle(ctx, m),
			m.add(ctx, "alone", alone()),
			m.add(ctx, "alone --skip-preview", alone("--skip-preview")),
		); err != nil {
			return findings{}, err
		}
	}
	down, up := m["kubectl 1 to 0"], m["kubectl 0 to 1"]
	// The ratio if everything but the engine took no longer than kubectl.
	floor := func(kubectl times, alone string) float64 {
		return 1 + m[alone].median().Seconds()/kubectl.median().Seconds()
	}
	return findings{
		rows: []row{
			beside("`pulumi up` 1 to 0", m["pulumi up 1 to 0"], "`kubectl`", down, scaleTarget),
			beside("`pulumi up --skip-preview` 1 to 0", m["pulumi up --skip-preview 1 to 0"], "`kubectl`", down, scaleToZeroTarget),
			beside("`pulumi up` 0 to 1", m["pulumi up 0 to 1"], "`kubectl`", up, scaleTarget),
			beside("`pulumi up --skip-preview` 0 to 1", m["pulumi up --skip-preview 0 to 1"], "`kubectl`", up, 0),
		},
		notes: []string{
			"`pulumi up` is typed with `--yes`: a preview, then the update.",
			"1 to 0, by kubectl: `kubectl scale --replicas=0`, then `kubectl wait --for=delete` for the pod.",
			"0 to 1: until the server answers SQL; attempts begin when the command has ended. By kubectl: `kubectl scale --replicas=1`.",
			"1 to 0 has two modes, and whoever is compared must meet the same. The kubelet goes on with a pod only after its next look at the containers, once a second: a pod that has been ready for long stops at once and is gone at the next look (about 0.5 to 1.5 s); of one that became ready less than two seconds ago, the stop waits for two looks more (about 2.5 s). So every stop, on both sides, begins once the pod has been ready for " +
				quietTime.String() + ", and every command at a random moment of the kubelet's second.",
			fmt.Sprintf("The engine alone, with a stack of no resources, takes %.2f s, and %.2f s with `--skip-preview`. If all else took as long as kubectl, the four ratios would be %.2f, %.2f, %.2f and %.2f.",
				m["alone"].median().Seconds(), m["alone --skip-preview"].median().Seconds(),
				floor(down, "alone"), floor(down, "alone --skip-preview"), floor(up, "alone"), floor(up, "alone --skip-preview")),
		},
	}, nil
}

// cycle scales to zero and back in every way, and leaves one replica.
func (s *server) cycle(ctx context.Context, m series) error {
	ways := []struct {
		name     string
		down, up []step
		set      func(replicas string) error
	}{{
		name: "kubectl",
		down: []step{s.scale(0), s.untilGone()},
		up:   []step{s.scale(1)},
		set:  func(string) error { return nil },
	}}
	for _, flags := range [][]string{nil, {"--skip-preview"}} {
		update := []step{s.command(s.UpArguments(flags...)...)}
		ways = append(ways, struct {
			name     string
			down, up []step
			set      func(replicas string) error
		}{
			name: strings.Join(append([]string{"pulumi up"}, flags...), " "), down: update, up: update,
			set: func(replicas string) error { return s.Set(ctx, "replicas", replicas).Err() },
		})
	}
	for _, way := range ways {
		if err := errors.Join(way.set("0"), s.untilQuiet(ctx)); err != nil {
			return err
		}
		if err := m.add(ctx, way.name+" 1 to 0", way.down...); err != nil {
			return err
		}
		if err := errors.Join(way.set("1"), pause(ctx, randomMoment())); err != nil {
			return err
		}
		if err := m.add(ctx, way.name+" 0 to 1", append(slices.Clone(way.up), s.untilAnswer)...); err != nil {
			return err
		}
	}
	return nil
}

// measureNothingToDo measures what a user waits for when nothing is to be done.
func measureNothingToDo(ctx context.Context, b *bench) (findings, error) {
	s, err := b.sharedServer(ctx)
	if err != nil {
		return findings{}, err
	}
	m := series{}
	preview := s.command(s.PreviewArguments()...)
	update := s.command(s.UpArguments("--skip-preview")...)
	without := s.command(s.UpArguments("--skip-preview", "--refresh=false")...)
	engineAlone, err := b.engineAlone(ctx)
	if err != nil {
		return findings{}, err
	}
	alone := engineAlone("--skip-preview")
	for _, warm := range []step{update, alone} {
		if _, err := warm(ctx); err != nil {
			return findings{}, err
		}
	}
	for run := range b.runs {
		b.say("nothing to do: %d of %d", run+1, b.runs)
		if err := errors.Join(m.add(ctx, "preview", preview), m.add(ctx, "update", update), m.add(ctx, "without", without), m.add(ctx, "alone", alone)); err != nil {
			return findings{}, err
		}
	}
	return findings{
		rows: []row{
			within("`pulumi preview`, nothing to do", m["preview"], previewTarget),
			within("`pulumi up --skip-preview`, nothing to do", m["update"], nothingTarget).
				besides("the engine with a stack of no resources", m["alone"]),
			beside("the same with `--refresh=false`", m["without"], "with the refresh", m["update"], 0),
		},
		notes: []string{"The engine with a stack of no resources: `pulumi up --yes --skip-preview` of a program of one line (YAML), which needs no provider and nothing built. No program takes less."},
	}, nil
}

// engineAlone makes a stack of no resources. Its update has nothing to do but the
// engine itself.
func (b *bench) engineAlone(ctx context.Context) (func(flags ...string) step, error) {
	folder, err := os.MkdirTemp(b.Folder, "nothing-")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(folder, "Pulumi.yaml"), []byte("name: nothing\nruntime: yaml\nresources: {}\n"), 0o600); err != nil {
		return nil, err
	}
	arguments := []string{"--cwd", folder, "--stack", filepath.Base(folder)}
	if err := b.Run(ctx, append([]string{"pulumi", "stack", "init"}, arguments...)...).Err(); err != nil {
		return nil, err
	}
	return func(flags ...string) step {
		return func(ctx context.Context) (time.Duration, error) {
			result := b.Run(ctx, slices.Concat([]string{"pulumi", "up", "--yes"}, arguments, flags)...)
			return result.Duration, result.Err()
		}
	}, nil
}

// measureLook compares verify with psql.
func measureLook(ctx context.Context, b *bench) (findings, error) {
	s, err := b.sharedServer(ctx)
	if err != nil {
		return findings{}, err
	}
	m := series{}
	verify := s.command("go", "run", "./verify", "--stack", s.Name, "--ledger", s.Ledger())
	psql := s.psql("--command", labStatements)
	_, err = exec.LookPath("psql")
	installed := err == nil
	// The first run links the program and makes the table.
	if _, err := verify(ctx); err != nil {
		return findings{}, err
	}
	for run := range b.runs {
		b.say("verify: %d of %d", run+1, b.runs)
		if err := errors.Join(m.add(ctx, "go run", verify), m.add(ctx, "built", s.command(s.CheckArguments()...))); err != nil {
			return findings{}, err
		}
		if !installed {
			continue
		}
		if err := m.add(ctx, "psql", psql); err != nil {
			return findings{}, err
		}
	}
	if !installed {
		return findings{
			rows:  []row{{what: "`go run ./verify`", ours: m["go run"].String()}, {what: "verify, built", ours: m["built"].String()}},
			notes: []string{"psql is not installed here: verify was compared with nothing."},
		}, nil
	}
	return findings{
		rows: []row{
			beside("`go run ./verify`", m["go run"], "`psql`", m["psql"], 0),
			beside("verify, built", m["built"], "`psql`", m["psql"], 0),
		},
		notes: []string{"verify, with warm caches: all evidence, all rows checked, ten rows more. `psql`: the lab's three statements (create table, insert, count)."},
	}, nil
}

// measureMemory watches the memory of the local cluster during updates that are
// not timed.
func measureMemory(ctx context.Context, b *bench) (findings, error) {
	memory, err := findClusterMemory(b.Root)
	if errors.Is(err, errNotLocal) {
		return findings{notes: []string{"Memory of the cluster was not measured: " + errNotLocal.Error() + "."}}, nil
	}
	if err != nil {
		return findings{}, err
	}
	s, err := b.sharedServer(ctx)
	if err != nil {
		return findings{}, err
	}
	b.say("memory of the cluster")
	if err := memory.watch(ctx, func() error {
		for _, replicas := range []string{"0", "1"} {
			if err := errors.Join(s.Set(ctx, "replicas", replicas).Err(), s.Up(ctx).Err()); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return findings{}, err
	}
	peak := memory.peak.total()
	return findings{
		rows: []row{{
			what: "memory of the local cluster, peak", ours: fmt.Sprintf("%.2f GiB", float64(peak)/(1<<30)),
			target: fmt.Sprintf("under %d GiB with one node", memoryTarget>>30), met: yesOrNo(peak < memoryTarget),
		}},
		notes: []string{"Memory is the proportional set size of all processes below the cluster's supervisor, control plane, node and server, sampled during scaling. The largest: " + memory.largest(6) + "."},
	}, nil
}

// writeManifests writes the stack's objects as somebody would who deploys them
// without Pulumi: without what the cluster and Pulumi added.
func (s *server) writeManifests(ctx context.Context) (string, error) {
	var items []map[string]any
	for _, query := range [][]string{
		{"get", "namespace", s.Namespace, "--output=json"},
		{"get", "serviceaccount,configmap,secret,service,networkpolicy,pvc,statefulset", "--selector=" + contract.LabelManagedBy + "=" + contract.ManagedByValue, "--output=json"},
	} {
		result := s.Kubectl(ctx, query...)
		if err := result.Err(); err != nil {
			return "", err
		}
		var answer map[string]any
		if err := json.Unmarshal([]byte(result.Stdout), &answer); err != nil {
			return "", fmt.Errorf("kubectl get: %w", err)
		}
		list, isList := answer["items"].([]any)
		if !isList {
			list = []any{answer}
		}
		for _, item := range list {
			// The marker is no part of what somebody deploys who begins with nothing.
			if object := clean(item.(map[string]any)); object["metadata"].(map[string]any)["name"] != contract.Marker {
				items = append(items, object)
			}
		}
	}
	if len(items) < 9 {
		return "", fmt.Errorf("namespace %s: expected at least 9 objects of the stack, got %d", s.Namespace, len(items))
	}
	text, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	if err != nil {
		return "", err
	}
	file := filepath.Join(s.Folder, "manifests.json")
	return file, os.WriteFile(file, text, 0o600)
}

// clean takes out of an object what was not asked for.
func clean(item map[string]any) map[string]any {
	delete(item, "status")
	metadata := item["metadata"].(map[string]any)
	maps.DeleteFunc(metadata, func(key string, _ any) bool {
		return !slices.Contains([]string{"name", "namespace", "labels", "annotations"}, key)
	})
	if annotations, found := metadata["annotations"].(map[string]any); found {
		maps.DeleteFunc(annotations, func(key string, _ any) bool {
			return strings.HasPrefix(key, "pulumi.com/") || strings.Contains(key, "kubernetes.io/")
		})
	}
	if spec, found := item["spec"].(map[string]any); found {
		switch item["kind"] {
		case "Namespace":
			delete(item, "spec")
		case "PersistentVolumeClaim":
			delete(spec, "volumeName")
		case "Service":
			if spec["clusterIP"] != "None" {
				delete(spec, "clusterIP")
				delete(spec, "clusterIPs")
			}
		}
	}
	return item
}
