// Package command is the command line of verify: one file a verb, each reading its flags and
// handing over to the packages that do the work.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"stateful-postgres/internal/progress"
	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/report"
)

// Streams are where a command writes.
type Streams struct {
	Out io.Writer
	Err io.Writer
}

const checkTimeout = 2 * time.Minute

// errInterrupted is the cause of a context that a signal ended.
var errInterrupted = errors.New("interrupted")

// usageError is a command line that cannot be meant.
type usageError struct{ problem string }

func (e usageError) Error() string { return e.problem }

// settings are the flags that every verb has.
type settings struct {
	streams Streams

	timeout     time.Duration
	output      string
	stack       string
	context     string
	namespace   string
	statefulSet string
	via         string
	dsn         string
	ledger      string
	newLedger   bool
	quiet       bool
}

// Run runs the command line and returns the exit code.
func Run(args []string, streams Streams) int {
	ctx, stop := interruptible()
	defer stop()
	exitCode := report.ExitProven
	root := newRoot(streams, &exitCode)
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(streams.Err, "verify: %v\n", err)
		var usage usageError
		if errors.As(err, &usage) {
			fmt.Fprintln(streams.Err, "see: verify --help")
			return report.ExitUsage
		}
		switch {
		case exitCode != report.ExitProven:
			// The checks were made, and their result could not be printed.
			return exitCode
		case ctx.Err() != nil:
			return report.ExitInterrupted
		}
		return report.ExitUnknown
	}
	return exitCode
}

// interruptible returns a context that the first SIGINT or SIGTERM ends; the second one ends the
// process.
func interruptible() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
			signal.Stop(signals)
			cancel(errInterrupted)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}

func newRoot(streams Streams, exitCode *int) *cobra.Command {
	root := newCheck(streams, exitCode)
	root.Use = "verify"
	root.Short = "Prove that a PostgreSQL on Kubernetes kept its data"
	root.Long = `Verify is a witness: it writes rows, keeps its own record of them outside of the
database, and proves later that every acknowledged row is there, unaltered.

Without a verb it checks the selected Pulumi stack as it is now: with replicas at
0 it proves that the database is down and its volume kept, with 1 or more that no
row was lost.

Exit codes: 0 proven, 1 violated, 2 could not tell, 64 usage, 124 deadline,
130 interrupted. "go run" turns every code but 0 into 1; for exact codes build
the program once: go build -o .local/bin/verify ./verify`
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err.Error()} })
	root.AddCommand(newCheck(streams, exitCode), newFill(streams, exitCode), newCycle(streams, exitCode), newDurability(streams, exitCode),
		newStatus(streams, exitCode))
	root.InitDefaultCompletionCmd()
	return root
}

// noArguments refuses arguments as a usage error.
func noArguments(command *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError{fmt.Sprintf("%s: unexpected argument %q", command.CommandPath(), args[0])}
}

// register adds the flags that every verb has.
func (s *settings) register(command *cobra.Command, timeout time.Duration) {
	flags := command.Flags()
	flags.DurationVar(&s.timeout, "timeout", timeout, "how long to wait for the cluster, the server and all checks together")
	flags.StringVarP(&s.output, "output", "o", "table", "table, json or junit")
	flags.StringVar(&s.stack, "stack", "", "Pulumi stack (default: the selected one)")
	flags.StringVar(&s.context, "context", "", "context of the kubeconfig (default: the stack's, or the current one)")
	flags.StringVarP(&s.namespace, "namespace", "n", "", "look into this namespace instead of asking Pulumi")
	flags.StringVar(&s.statefulSet, "stateful-set", "", "with --namespace, when it has more than one PostgreSQL")
	flags.StringVar(&s.via, "via", kubernetes.ViaAuto, "way to the server: auto, nodeport, loadbalancer or port-forward")
	flags.StringVar(&s.dsn, "dsn", "", "connect to this server and look at nothing else; PG* variables fill in what it leaves out")
	flags.StringVar(&s.ledger, "ledger", "", "file of the ledger (default: one for each stack or server)")
	flags.BoolVar(&s.newLedger, "new-ledger", false, "set the ledger aside and start a new one")
	flags.BoolVarP(&s.quiet, "quiet", "q", false, "print problems and the verdict only")
	for flag, values := range map[string][]string{
		"output": {"table", "json", "junit"},
		"via":    {kubernetes.ViaAuto, kubernetes.ViaNodePort, kubernetes.ViaLoadBalancer, kubernetes.ViaPortForward},
	} {
		// It fails only for a flag that does not exist.
		_ = command.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
}

// validate finds settings that cannot be meant, all of them.
func (s *settings) validate() error {
	var problems []string
	if !slices.Contains([]string{"table", "json", "junit"}, s.output) {
		problems = append(problems, fmt.Sprintf("--output %q: expected table, json or junit", s.output))
	}
	if !slices.Contains([]string{kubernetes.ViaAuto, kubernetes.ViaNodePort, kubernetes.ViaLoadBalancer, kubernetes.ViaPortForward}, s.via) {
		problems = append(problems, fmt.Sprintf("--via %q: expected auto, nodeport, loadbalancer or port-forward", s.via))
	}
	if s.timeout <= 0 {
		problems = append(problems, fmt.Sprintf("--timeout %s: expected more than 0", s.timeout))
	}
	for _, pair := range [][2]struct{ flag, value string }{
		{{"--dsn", s.dsn}, {"--namespace", s.namespace}},
		{{"--dsn", s.dsn}, {"--stack", s.stack}},
		{{"--dsn", s.dsn}, {"--context", s.context}},
		{{"--namespace", s.namespace}, {"--stack", s.stack}},
	} {
		if pair[0].value != "" && pair[1].value != "" {
			problems = append(problems, fmt.Sprintf("%s and %s exclude each other", pair[0].flag, pair[1].flag))
		}
	}
	if s.dsn != "" && s.via != kubernetes.ViaAuto {
		problems = append(problems, "--dsn and --via exclude each other")
	}
	if s.statefulSet != "" && s.namespace == "" {
		problems = append(problems, "--stateful-set needs --namespace")
	}
	if len(problems) > 0 {
		return usageError{strings.Join(problems, "; ")}
	}
	return nil
}

// sink opens the output that the flags ask for. The progress must be stopped.
func (s *settings) sink(verb string) *report.Sink {
	width, terminal := progress.Terminal(s.streams.Err)
	var line *progress.Line
	if !s.quiet {
		line = progress.New(s.streams.Err, terminal, width)
	}
	return report.NewSink(verb, s.printer(), line)
}

func (s *settings) printer() report.Printer {
	switch s.output {
	case "json":
		return report.JSON{Out: s.streams.Out}
	case "junit":
		return report.JUnit{Out: s.streams.Out}
	}
	return report.NewTable(s.streams.Out, s.style())
}

// style is how a table is drawn on the output.
func (s *settings) style() report.Style {
	width, terminal := progress.Terminal(s.streams.Out)
	return report.Style{
		Color: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
		Width: width,
		Quiet: s.quiet,
	}
}
