package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"stateful-postgres/internal/faults"
	"stateful-postgres/verify/internal/durability"
	"stateful-postgres/verify/internal/history"
	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/page"
	"stateful-postgres/verify/internal/pulumicli"
	"stateful-postgres/verify/internal/report"
)

const (
	defaultWriters  = 8
	mostWriters     = 256
	defaultDuration = time.Minute
	defaultEvery    = 15 * time.Second
	defaultRecovery = 4 * time.Minute
	// timeBesides is what a run may take besides writing: the last fault, and the look at the rows.
	timeBesides = 30 * time.Minute
	// timeOfFault is what one fault may take, where it is said how often each strikes.
	timeOfFault = 5 * time.Minute
	// gentlest is the fault that strikes when none is named.
	gentlest = "pod-delete"
	// leastRate has enough commits in a recovery to see that they go on.
	leastRate = 1.0
	// noFault only writes.
	noFault = "none"
	// scale is the fault that needs Pulumi.
	scale = "scale"
)

// durabilitySettings are the flags of durability.
type durabilitySettings struct {
	settings
	writers    int
	rate       float64
	duration   time.Duration
	times      int
	workload   string
	faults     []string
	every      time.Duration
	through    []int
	seed       int64
	page       string
	history    string
	replay     string
	listFaults bool
	configFile string
	recovery   time.Duration
	// flags are those that were given.
	flags []string
}

func newDurability(streams Streams, exitCode *int) *cobra.Command {
	s := &durabilitySettings{settings: settings{streams: streams}}
	command := &cobra.Command{
		Use:   "durability",
		Short: "Write under load while faults strike, and account for every write",
		Long: `Durability breaks servers on purpose while it writes, and proves afterwards that no
acknowledged commit was lost. Each writer commits one row after the other, as fast
as they are acknowledged; faults strike meanwhile, one after the other; at the end
every row is read back, from the primary and from each standby.

A fault is named by what happens, and by the role it happens to: pod-kill strikes
any server, leader-pod-kill the primary, standby-pod-kill a synchronous standby,
all-pod-kill all of them. --list-faults shows which of them this cluster can do.

What a fault changes is put back, also after Ctrl-C. A run in which no fault hit a
commit proves nothing, and ends with exit code 2.`,
		Example: `  verify durability --list-faults
  verify durability --fault pod-kill,process-kill --duration 5m
  verify durability --fault leader-node-kill,leader-partition --every 1m --duration 30m
  verify durability --fault scale --through 1,0,1
  verify durability --report durability.html
  verify durability --replay .local/verify/dev/durability-20260102T030405Z.json.gz`,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			s.note(command)
			code, err := s.run(command.Context())
			*exitCode = code
			return err
		},
	}
	s.register(command, 0)
	flags := command.Flags()
	flags.Lookup("timeout").Usage = "how long all of it may take (default: the duration and 30 minutes; with --times 5 minutes a fault more)"
	flags.IntVar(&s.writers, "writers", defaultWriters, "how many connections commit at the same time")
	flags.Float64Var(&s.rate, "rate", 0, "how many commits a second they try together (default: as fast as they are acknowledged)")
	flags.DurationVar(&s.duration, "duration", defaultDuration, "how long faults strike")
	flags.StringVar(&s.workload, "workload", history.Rows, "rows: writers add rows; register: clients exchange values of keys, and nobody may see an older one after a newer one")
	flags.IntVar(&s.times, "times", 0, "instead of --duration: how often each fault strikes")
	flags.StringSliceVar(&s.faults, "fault", []string{gentlest}, "what strikes, in a random order; none only writes, and somebody else may break things")
	flags.DurationVar(&s.every, "every", defaultEvery, "from the end of a fault to the next, about")
	flags.DurationVar(&s.recovery, "recovery", defaultRecovery, "how long commits may take to go on after a fault")
	flags.IntSliceVar(&s.through, "through", nil, "replicas that the fault scale goes through, like 1,0,1 (default: down to 0 and back)")
	flags.Int64Var(&s.seed, "seed", 0, "decides the order of the faults and their moments (default: another one each time)")
	flags.StringVar(&s.page, "report", "", "write a page about the run to this HTML file")
	flags.StringVar(&s.history, "history", "", "file for everything that is known of the run (default: one beside the ledger)")
	flags.StringVar(&s.replay, "replay", "", "instead: report an earlier run again, from its history")
	flags.BoolVar(&s.listFaults, "list-faults", false, "instead: list all faults, and what this cluster can do")
	flags.StringVar(&s.configFile, "config-file", "", "settings file of the stack, for the fault scale (default: Pulumi.STACK.yaml)")
	return command
}

// note keeps which flags were given, for the command to type again.
func (s *durabilitySettings) note(command *cobra.Command) {
	if !command.Flags().Changed("timeout") {
		s.timeout = s.duration + timeBesides + time.Duration(s.times*len(s.faults))*timeOfFault
	}
	if !command.Flags().Changed("seed") {
		s.seed = int64(rand.Uint32())
	}
	for _, name := range []string{"stack", "context", "namespace", "dsn", "stateful-set", "via", "workload", "writers", "rate", "duration", "times", "every", "fault", "recovery", "through", "config-file"} {
		flag := command.Flags().Lookup(name)
		if flag.Changed {
			s.flags = append(s.flags, fmt.Sprintf("--%s %s", name, forShell(strings.Trim(flag.Value.String(), "[]"))))
		}
	}
	s.flags = append(s.flags, fmt.Sprintf("--seed %d", s.seed))
}

// forShell quotes what a shell would not take for one plain word.
func forShell(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@=%+") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

func (s *durabilitySettings) validate() error {
	var problems []string
	if s.writers < 1 || s.writers > mostWriters {
		problems = append(problems, fmt.Sprintf("--writers %d: expected 1 to %d", s.writers, mostWriters))
	}
	if s.rate < 0 || s.rate > 0 && s.rate < leastRate {
		problems = append(problems, fmt.Sprintf("--rate %g: expected %g commits a second or more, or 0 for as fast as they are acknowledged", s.rate, leastRate))
	}
	if s.workload != history.Rows && s.workload != history.Register {
		problems = append(problems, fmt.Sprintf("--workload %q: expected %s or %s", s.workload, history.Rows, history.Register))
	}
	if s.duration <= 0 {
		problems = append(problems, fmt.Sprintf("--duration %s: expected more than 0", s.duration))
	}
	if s.times < 0 {
		problems = append(problems, fmt.Sprintf("--times %d: expected 1 or more", s.times))
	}
	if s.every < 0 {
		problems = append(problems, fmt.Sprintf("--every %s: expected 0 or more", s.every))
	}
	if s.recovery <= 0 {
		problems = append(problems, fmt.Sprintf("--recovery %s: expected more than 0", s.recovery))
	}
	for _, replicas := range s.through {
		if replicas < 0 {
			problems = append(problems, fmt.Sprintf("--through %d: expected 0 or more", replicas))
		}
	}
	if len(s.through) > 0 && !slices.Contains(s.faults, scale) {
		problems = append(problems, "--through is for the fault scale: add --fault scale")
	}
	if s.dsn != "" && !s.onlyWrites() && s.replay == "" {
		problems = append(problems, "with --dsn alone nothing can be broken: name the namespace with --namespace, or break it yourself and add --fault none")
	}
	if len(problems) > 0 {
		return usageError{strings.Join(problems, "; ")}
	}
	return s.settings.validate()
}

// onlyWrites says that nothing is to be broken.
func (s *durabilitySettings) onlyWrites() bool { return len(s.faults) == 1 && s.faults[0] == noFault }

func (s *durabilitySettings) run(ctx context.Context) (int, error) {
	if err := s.validate(); err != nil {
		return 0, err
	}
	if s.replay != "" {
		return s.runReplay()
	}
	sink := s.sink("durability")
	defer sink.Progress.Stop()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if s.listFaults {
		return s.runList(ctx, sink)
	}
	found, entries, err := s.open(ctx, sink)
	if err != nil {
		return s.cannotStart(ctx, sink, err)
	}
	var servers *faults.Servers
	var chosen []faults.Fault
	if !s.onlyWrites() {
		var nodes int
		var closeServers func()
		if servers, nodes, closeServers, err = s.servers(ctx, found); err != nil {
			return s.cannotStart(ctx, sink, errors.Join(err, entries.Close()))
		}
		defer closeServers()
		if chosen, err = s.choose(found, servers, nodes); err != nil {
			return 0, errors.Join(err, entries.Close())
		}
	}
	kinds := s.faults
	if s.onlyWrites() {
		kinds = []string{}
	}
	h := &history.History{
		Command: "verify durability " + strings.Join(s.flags, " "),
		Plan: history.Plan{
			Workload: s.workload, Writers: s.writers, DurationMS: s.duration.Milliseconds(), EveryMS: s.every.Milliseconds(),
			Rate: s.rate, Times: s.times, Faults: kinds, Through: s.through, Seed: s.seed,
		},
	}
	if !s.quiet {
		fmt.Fprintf(s.streams.Err, "%s; to run it again: %s\n", durability.Describe(h.Plan), h.Command)
	}
	played := &durability.Run{
		Subject: found.Subject, Ledger: entries, Sink: sink, Others: s.others(found, entries), Servers: servers, Faults: chosen, Recovery: s.recovery, History: h,
	}
	failure := played.Run(ctx)
	if h.Run != 0 && failure == nil {
		failure = s.keep(h, sink, filepath.Dir(found.ledger))
	}
	return s.finish(sink, entries, durability.Summarize(h), failure)
}

// keep writes the history and the page.
func (s *durabilitySettings) keep(h *history.History, sink *report.Sink, folder string) error {
	path := s.history
	if path == "" {
		path = filepath.Join(folder, "durability-"+h.StartedAt.Format("20060102T150405Z")+".json.gz")
	}
	if err := history.Write(path, h); err != nil {
		return err
	}
	if sink.Report.Durability != nil {
		sink.Report.Durability.History = path
	}
	sink.Add(report.Check{Section: report.Record, Name: "history", Status: report.Passed, Detail: path})
	return s.writePage(h, sink)
}

// writePage writes the page that was asked for.
func (s *durabilitySettings) writePage(h *history.History, sink *report.Sink) (err error) {
	if s.page == "" {
		return nil
	}
	sink.Conclude(durability.Summarize(h))
	file, err := os.Create(s.page)
	if err != nil {
		return fmt.Errorf("--report: %w", err)
	}
	var extras []page.Extra
	if h.Plan.Workload == history.Register {
		var picture bytes.Buffer
		if err := durability.Picture(&picture, h); err != nil {
			return errors.Join(fmt.Errorf("--report: %w", err), file.Close())
		}
		extras = append(extras, page.Extra{Title: "What the clients saw", HTML: picture.Bytes()})
	}
	err = errors.Join(page.Render(file, h, sink.Report, extras...), file.Close())
	if err != nil {
		return fmt.Errorf("--report %s: %w", s.page, err)
	}
	sink.Add(report.Check{Section: report.Record, Name: "page", Status: report.Passed, Detail: s.page})
	return nil
}

// runReplay reports an earlier run again.
func (s *durabilitySettings) runReplay() (int, error) {
	h, err := history.Read(s.replay)
	if err != nil {
		return 0, usageError{"--replay: " + err.Error()}
	}
	sink := s.sink("durability")
	defer sink.Progress.Stop()
	durability.Replay(h, sink)
	sink.Report.Durability.History = s.replay
	if err := s.writePage(h, sink); err != nil {
		return report.ExitUnknown, err
	}
	err = sink.Finish(durability.Summarize(h))
	return sink.Report.ExitCode, err
}

// servers are those that faults are to strike, and how many nodes there are.
func (s *durabilitySettings) servers(ctx context.Context, found *subject) (*faults.Servers, int, func(), error) {
	if found.Cluster == nil {
		return nil, 0, nil, usageError{"durability needs a cluster: PG* variables alone lead to nothing that could be broken"}
	}
	kubectl, err := kubernetes.NewKubectl(found.source, found.Objects.Namespace, filepath.Dir(found.ledger))
	if err != nil {
		return nil, 0, nil, err
	}
	done := func() { _ = kubectl.Close() }
	observed, err := found.Cluster.Observe(ctx, found.Objects)
	if err == nil && (observed.StatefulSet == nil || observed.StatefulSet.Spec.Replicas == nil || *observed.StatefulSet.Spec.Replicas == 0) {
		err = fmt.Errorf("StatefulSet %s has no replicas: there is nothing to break; run: pulumi config set replicas 1 && pulumi up", found.Objects.StatefulSet)
	}
	if err != nil {
		done()
		return nil, 0, nil, err
	}
	nodes := 0
	// Who may not see nodes cannot break them either.
	if listed, err := found.Cluster.Core.Nodes().List(ctx, metav1.ListOptions{}); err == nil {
		nodes = len(listed.Items)
	}
	return &faults.Servers{
		Kubectl: kubectl.Run, Localkube: kubernetes.Localkube(ctx, found.Cluster.Config),
		Namespace: found.Objects.Namespace, StatefulSet: found.Objects.StatefulSet,
		Replicas: int(*observed.StatefulSet.Spec.Replicas), HighAvailability: found.Objects.HighAvailability,
		Random: rand.New(rand.NewPCG(uint64(s.seed), 1)),
	}, nodes, done, nil
}

// all are all faults, with why one is not possible here; empty when it is.
func (s *durabilitySettings) all(found *subject, servers *faults.Servers, nodes int) (all []faults.Fault, impossible map[string]string) {
	impossible = map[string]string{}
	all = faults.All()
	for _, fault := range all {
		impossible[fault.Name] = fault.Possible(servers, nodes)
	}
	scaling := faults.Fault{Name: scale, Does: "replicas change through Pulumi, and come back", Total: true}
	if found.project == "" {
		impossible[scale] = "it needs a Pulumi stack"
	} else {
		deployer := &pulumicli.Deployer{Project: found.project, Stack: found.stack, ConfigFile: s.configFile, Scratch: filepath.Dir(found.ledger)}
		scaling.Strike = durability.Scale(deployer, s.steps(servers))
	}
	killing := faults.Fault{Name: clientKill, Does: "another verify that writes is killed, and its next run accounts for what it left", Strike: s.killClient(found)}
	return append(all, scaling, killing), impossible
}

// steps are the replicas that the fault scale goes through; the last step is back to the settings.
func (s *durabilitySettings) steps(servers *faults.Servers) []int {
	if len(s.through) > 0 {
		return s.through
	}
	return []int{0, servers.Replicas}
}

// choose finds the faults that were asked for, and refuses those that cannot strike here.
func (s *durabilitySettings) choose(found *subject, servers *faults.Servers, nodes int) ([]faults.Fault, error) {
	all, impossible := s.all(found, servers, nodes)
	var chosen []faults.Fault
	var problems []string
	for _, name := range s.faults {
		i := slices.IndexFunc(all, func(f faults.Fault) bool { return f.Name == name })
		switch {
		case i < 0:
			problems = append(problems, fmt.Sprintf("--fault %q: expected one or more of those that verify durability --list-faults names", name))
		case impossible[name] != "":
			problems = append(problems, fmt.Sprintf("--fault %s: not possible here: %s", name, impossible[name]))
		default:
			chosen = append(chosen, all[i])
		}
	}
	if len(problems) > 0 {
		return nil, usageError{strings.Join(problems, "; ")}
	}
	return chosen, nil
}

// runList lists all faults.
func (s *durabilitySettings) runList(ctx context.Context, sink *report.Sink) (int, error) {
	sink.Progress.Say("reading the stack")
	found, err := s.find(ctx)
	if err != nil {
		return s.cannotStart(ctx, sink, err)
	}
	servers, nodes, done, err := s.servers(ctx, found)
	if err != nil {
		return s.cannotStart(ctx, sink, err)
	}
	defer done()
	all, impossible := s.all(found, servers, nodes)
	sink.Progress.Print(func() {
		table := tabwriter.NewWriter(s.streams.Out, 0, 0, 2, ' ', 0)
		for _, fault := range all {
			mark, note := "✓", fault.Does
			if why := impossible[fault.Name]; why != "" {
				mark, note = "-", note+"; not here: "+why
			}
			fmt.Fprintf(table, "%s %s\t%s\n", mark, fault.Name, note)
		}
		err = table.Flush()
	})
	return report.ExitProven, err
}
