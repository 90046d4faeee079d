package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"stateful-postgres/internal/stack"
)

const (
	// answerTimeout is for a server that was started to answer.
	answerTimeout = 2 * time.Minute
	// connectTimeout is for one attempt: packets to a Service that has no
	// endpoint yet may be dropped instead of refused.
	connectTimeout = 300 * time.Millisecond
	// connectInterval is between two attempts.
	connectInterval = 10 * time.Millisecond
)

// Targets of this section.
const (
	scaleTarget   = 1.5
	firstUpTarget = 2.0
	previewTarget = 1500 * time.Millisecond
	memoryTarget  = 3 << 30
)

// The lab's three statements.
const labStatements = `create table if not exists lab (id serial primary key, note text);
insert into lab (note) values ('hello');
select count(*) from lab;`

// markerName is the ConfigMap that says that the volume holds data. It is no part
// of what somebody deploys who begins with nothing.
const markerName = "postgres-data-expected"

// server is a stack and the way to its server, which is known before the server
// is: nothing has to be looked up while the clock runs.
type server struct {
	*stack.Stack
	host     string
	nodePort string
	password string
}

// newServer makes a stack with a node port and a password of its own choice.
func (b *bench) newServer(ctx context.Context) (*server, error) {
	node := b.Run(ctx, "kubectl", "get", "nodes", `--output=jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)
	if err := node.Err(); err != nil {
		return nil, err
	}
	// A port that is taken makes the first update fail, which says so.
	port, err := rand.Int(rand.Reader, big.NewInt(32767-30000+1))
	if err != nil {
		return nil, err
	}
	s := &server{host: node.Stdout, nodePort: strconv.FormatInt(30000+port.Int64(), 10), password: rand.Text()}
	if s.Stack, err = b.NewStack(ctx, "program"); err != nil {
		return nil, err
	}
	return s, errors.Join(
		s.Set(ctx, "nodePort", s.nodePort).Err(),
		s.Set(ctx, "replicas", "1").Err(),
		s.SetSecret(ctx, "password", s.password).Err(),
	)
}

// address is what a client connects to.
func (s *server) address() string {
	return fmt.Sprintf("host=%s port=%s user=codewizard dbname=codewizard", s.host, s.nodePort)
}

// untilAnswer is how long it takes from now until the server answers SQL.
func (s *server) untilAnswer(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	config, err := pgx.ParseConfig(s.address() + " sslmode=disable")
	if err != nil {
		return 0, err
	}
	config.Password, config.ConnectTimeout = s.password, connectTimeout
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	for {
		err := ask(ctx, config)
		if err == nil {
			return time.Since(start), nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%s: no answer within %s: %w", s.address(), answerTimeout, err)
		case <-time.After(connectInterval):
		}
	}
}

func ask(ctx context.Context, config *pgx.ConnConfig) error {
	connection, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	_, err = connection.Exec(ctx, "select 1")
	return errors.Join(err, connection.Close(ctx))
}

// step is one thing that is timed, or part of it.
type step func(context.Context) (time.Duration, error)

// command times a command line.
func (s *server) command(arguments ...string) step {
	return func(ctx context.Context) (time.Duration, error) {
		result := s.Run(ctx, arguments...)
		return result.Duration, result.Err()
	}
}

// kubectl times kubectl in the stack's namespace.
func (s *server) kubectl(arguments ...string) step {
	return s.command(append([]string{"kubectl", "--namespace", s.Namespace}, arguments...)...)
}

// series are the times of several things by their name.
type series map[string]times

// add measures steps one after the other as one time.
func (m series) add(ctx context.Context, name string, steps ...step) error {
	var sum time.Duration
	for _, step := range steps {
		taken, err := step(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		sum += taken
	}
	m[name] = append(m[name], sum)
	return nil
}

// measureProgram compares `pulumi up` with kubectl, and verify with psql.
func measureProgram(ctx context.Context, b *bench) (section, error) {
	m := series{}
	memory, err := findClusterMemory(b.Root)
	if err != nil && !errors.Is(err, errNotLocal) {
		return section{}, err
	}
	s, err := b.measureFirstUp(ctx, m)
	if err != nil {
		return section{}, err
	}
	if memory != nil {
		b.say("memory of the cluster: a cycle that is not timed")
		if err := memory.watch(ctx, func() error { return s.cycle(ctx, series{}) }); err != nil {
			return section{}, err
		}
	}
	for run := range b.runs {
		b.say("scale, preview and verify: %d of %d", run+1, b.runs)
		if err := errors.Join(s.cycle(ctx, m), s.look(ctx, m)); err != nil {
			return section{}, err
		}
		if memory != nil {
			if err := memory.sample(); err != nil {
				return section{}, err
			}
		}
	}
	return m.section(memory), nil
}

// measureFirstUp makes stacks from nothing, and each one's objects once more
// with kubectl alone. It returns a stack that is up.
func (b *bench) measureFirstUp(ctx context.Context, m series) (*server, error) {
	for run := range b.runs {
		b.say("first update of a stack: %d of %d", run+1, b.runs)
		s, err := b.newServer(ctx)
		if err != nil {
			return nil, err
		}
		if err := m.add(ctx, "first pulumi up", s.command(s.UpArguments()...), s.untilAnswer); err != nil {
			return nil, err
		}
		file, err := s.writeManifests(ctx)
		if err != nil {
			return nil, err
		}
		if err := s.RemoveAndWait(ctx); err != nil {
			return nil, err
		}
		if err := m.add(ctx, "kubectl apply", s.command("kubectl", "apply", "--filename", file), s.untilAnswer); err != nil {
			return nil, err
		}
		if err := s.RemoveAndWait(ctx); err != nil {
			return nil, err
		}
	}
	s, err := b.newServer(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Up(ctx).Err(); err != nil {
		return nil, err
	}
	_, err = s.untilAnswer(ctx)
	return s, err
}

// cycle scales to zero and back in every way, and leaves one replica.
func (s *server) cycle(ctx context.Context, m series) error {
	scale := func(replicas int) step {
		return s.kubectl("scale", "statefulset/postgres", fmt.Sprintf("--replicas=%d", replicas))
	}
	if err := errors.Join(
		m.add(ctx, "kubectl 1 to 0", scale(0), s.kubectl("wait", "--for=delete", "pod/postgres-0", "--timeout=2m")),
		m.add(ctx, "kubectl 0 to 1", scale(1), s.untilAnswer),
	); err != nil {
		return err
	}
	for _, flags := range [][]string{nil, {"--skip-preview"}} {
		name := strings.Join(append([]string{"pulumi up"}, flags...), " ")
		if err := s.Set(ctx, "replicas", "0").Err(); err != nil {
			return err
		}
		if err := m.add(ctx, name+" 1 to 0", s.command(s.UpArguments(flags...)...)); err != nil {
			return err
		}
		if err := s.Set(ctx, "replicas", "1").Err(); err != nil {
			return err
		}
		if err := m.add(ctx, name+" 0 to 1", s.command(s.UpArguments(flags...)...), s.untilAnswer); err != nil {
			return err
		}
	}
	return nil
}

// look runs what changes nothing in the cluster.
func (s *server) look(ctx context.Context, m series) error {
	verify := s.command("go", "run", "./verify", "--stack", s.Name, "--ledger", s.Ledger())
	if len(m["go run ./verify"]) == 0 {
		// The first run links the program and makes the table.
		if _, err := verify(ctx); err != nil {
			return err
		}
	}
	return errors.Join(
		m.add(ctx, "pulumi preview", s.command(s.PreviewArguments()...)),
		m.add(ctx, "go run ./verify", verify),
		m.add(ctx, "verify", s.command(s.CheckArguments()...)),
		s.psql(ctx, m),
	)
}

// psql does the lab's three statements, where psql is installed.
func (s *server) psql(ctx context.Context, m series) error {
	if _, err := exec.LookPath("psql"); err != nil {
		return nil
	}
	command := s.Command(ctx, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", s.address(), "--command", labStatements)
	command.Env = append(command.Env, "PGPASSWORD="+s.password, "PGOPTIONS=-c client_min_messages=warning")
	return m.add(ctx, "psql", func(context.Context) (time.Duration, error) {
		start := time.Now()
		output, err := command.CombinedOutput()
		if err != nil {
			return 0, fmt.Errorf("%w: %s", err, output)
		}
		return time.Since(start), nil
	})
}

func (m series) section(memory *clusterMemory) section {
	result := section{
		title: "Program",
		rows: []row{
			beside("`pulumi up` 1 to 0", m["pulumi up 1 to 0"], "`kubectl`", m["kubectl 1 to 0"], scaleTarget),
			beside("`pulumi up --skip-preview` 1 to 0", m["pulumi up --skip-preview 1 to 0"], "`kubectl`", m["kubectl 1 to 0"], 0),
			beside("`pulumi up` 0 to 1", m["pulumi up 0 to 1"], "`kubectl`", m["kubectl 0 to 1"], scaleTarget),
			beside("`pulumi up --skip-preview` 0 to 1", m["pulumi up --skip-preview 0 to 1"], "`kubectl`", m["kubectl 0 to 1"], 0),
			beside("first `pulumi up` of a stack", m["first pulumi up"], "`kubectl apply`", m["kubectl apply"], firstUpTarget),
			within("`pulumi preview`, nothing to do", m["pulumi preview"], previewTarget),
		},
		notes: []string{
			"Medians, with the least and the most in brackets. A command is timed from its start to its end.",
			"`pulumi up` is typed with `--yes`: a preview, then the update.",
			"1 to 0, by kubectl: `kubectl scale --replicas=0`, then `kubectl wait --for=delete` for the pod.",
			"0 to 1, and the first update: until the server answers SQL; attempts begin when the command has ended. By kubectl: `kubectl scale --replicas=1`, or `kubectl apply` of the same objects. The image is on the node.",
		},
	}
	if len(m["psql"]) == 0 {
		result.rows = append(result.rows, row{what: "`go run ./verify`", ours: m["go run ./verify"].String()})
		result.notes = append(result.notes, "psql is not installed here: verify was compared with nothing.")
	} else {
		result.rows = append(result.rows,
			beside("`go run ./verify`", m["go run ./verify"], "`psql`", m["psql"], 0),
			beside("verify, built", m["verify"], "`psql`", m["psql"], 0))
		result.notes = append(result.notes,
			"verify, with warm caches: all evidence, all rows checked, ten rows more. `psql`: the lab's three statements (create table, insert, count).")
	}
	if memory == nil {
		result.notes = append(result.notes, "Memory of the cluster was not measured: "+errNotLocal.Error()+".")
		return result
	}
	peak := memory.peak.total()
	result.rows = append(result.rows, row{
		what: "memory of the local cluster, peak", ours: fmt.Sprintf("%.2f GiB", float64(peak)/(1<<30)),
		target: fmt.Sprintf("under %d GiB with one node", memoryTarget>>30), met: yesOrNo(peak < memoryTarget),
	})
	result.notes = append(result.notes,
		"Memory is the proportional set size of all processes below the cluster's supervisor, control plane, node and server, sampled during scaling and between the timed steps. The largest: "+memory.largest(6)+".")
	return result
}

// writeManifests writes the stack's objects as somebody would who deploys them
// without Pulumi: without what the cluster and Pulumi added.
func (s *server) writeManifests(ctx context.Context) (string, error) {
	var items []map[string]any
	for _, query := range [][]string{
		{"get", "namespace", s.Namespace, "--output=json"},
		{"get", "serviceaccount,configmap,secret,service,networkpolicy,pvc,statefulset", "--selector=app.kubernetes.io/managed-by=pulumi", "--output=json"},
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
			if object := clean(item.(map[string]any)); object["metadata"].(map[string]any)["name"] != markerName {
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
