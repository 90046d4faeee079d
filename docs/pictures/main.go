// Command pictures draws what verify prints, for README.md: with one server, with none, and when a
// row is missing. It runs them for real, on a stack of its own on the cluster that kubectl leads to;
// `make pictures` does it on the local one.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/creack/pty"

	"stateful-postgres/internal/progress"
	"stateful-postgres/internal/stack"
)

const (
	// columns is the width of the terminal: two pictures fit beside each other on a screen, and one
	// can be read on a telephone.
	columns = 62
	// rows is its height, which verify does not look at.
	rows = 50

	runTimeout   = 10 * time.Minute
	cleanTimeout = 5 * time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeoutCause(ctx, runTimeout, fmt.Errorf("not done within %s", runTimeout))
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		stop()
		os.Exit(1)
	}
}

// victim is a row that verify wrote at its first look.
const victim = "delete from verify.rows where (run, seq) = (select run, seq from verify.rows order by run, seq offset 3 limit 1)"

// scene is one picture.
type scene struct {
	// file is where it goes, below docs. Without one it happens, but is not drawn.
	file  string
	title string
	// replicas are what the stack is set to before.
	replicas int
	// sql is run by hand before, and comment says so.
	sql, comment string
	// flags and exitCode are those of verify.
	flags    []string
	exitCode int
}

// scenes are in the order in which they happen.
var scenes = []scene{
	{replicas: 1},
	{
		file:     "verify-at-0.svg",
		title:    "What verify prints with replicas at 0: the database is down, its volume with every row is kept",
		replicas: 0,
	},
	{
		file:     "verify-at-1.svg",
		title:    "What verify prints with replicas back at 1: every acknowledged row is there",
		replicas: 1,
	},
	{
		file:     "verify-row-missing.svg",
		title:    "What verify prints when a row was deleted by hand: it names the row",
		replicas: 1,
		sql:      victim,
		comment:  "# Somebody deleted a row by hand.",
		flags:    []string{"--quiet"},
		exitCode: 1,
	},
}

func run(ctx context.Context) (err error) {
	width, terminal := progress.Terminal(os.Stderr)
	line := progress.New(os.Stderr, terminal, width)
	defer line.Stop()
	line.Say("building the program and verify")
	workspace, err := stack.Open(ctx, "pictures")
	if err != nil {
		return err
	}
	defer func() {
		line.Say("removing the stack")
		// Also after an interrupt.
		ctx, cancel := context.WithTimeout(context.Background(), cleanTimeout)
		defer cancel()
		err = errors.Join(err, workspace.Close(ctx))
	}()
	if err := workspace.Build(ctx); err != nil {
		return err
	}
	s, err := workspace.NewNamedStack(ctx, "example")
	if err != nil {
		return err
	}
	// They are of one run, or there are none.
	pictures := map[string]string{}
	for _, scene := range scenes {
		line.Say("replicas %d, and verify", scene.replicas)
		output, err := scene.play(ctx, s)
		if err != nil {
			return err
		}
		if scene.file == "" {
			continue
		}
		if strings.Contains(output, workspace.Root) {
			return fmt.Errorf("%s: a folder of this machine is in it:\n%s", scene.file, ansi.Strip(output))
		}
		if pictures[scene.file], err = draw(scene.title, output, columns); err != nil {
			return fmt.Errorf("%s: %w", scene.file, err)
		}
	}
	for _, file := range slices.Sorted(maps.Keys(pictures)) {
		if err := os.WriteFile(filepath.Join(workspace.Root, "docs", file), []byte(pictures[file]), 0o644); err != nil {
			return err
		}
		line.Print(func() { fmt.Println("docs/" + file) })
	}
	return nil
}

// play brings the stack to where the scene happens, and returns what a terminal shows there: the
// command as README.md has it, and what verify prints.
func (c scene) play(ctx context.Context, s *stack.Stack) (string, error) {
	if result := s.Set(ctx, "replicas", fmt.Sprint(c.replicas)); !result.OK() {
		return "", result.Err()
	}
	if result := s.Up(ctx); !result.OK() {
		return "", result.Err()
	}
	if c.sql != "" {
		result := s.Kubectl(ctx, "exec", "postgres-0", "--", "sh", "-c", `exec psql --no-psqlrc --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" --command="$1"`, "psql", c.sql)
		if !result.OK() {
			return "", result.Err()
		}
	}
	output, err := verify(ctx, s, c.flags, c.exitCode)
	if err != nil {
		return "", err
	}
	prompt := "\x1b[1m$ " + strings.Join(append([]string{"go run ./verify"}, c.flags...), " ") + "\x1b[0m\n"
	if c.comment != "" {
		prompt = "\x1b[2m" + c.comment + "\x1b[0m\n" + prompt
	}
	return prompt + output, nil
}

// verify runs verify in a terminal and returns what it printed there, which is its report: its
// progress goes elsewhere.
func verify(ctx context.Context, s *stack.Stack, flags []string, exitCode int) (string, error) {
	command := s.Command(ctx, s.CheckArguments(flags...)...)
	command.Env = append(command.Env, "TERM=xterm-256color", "TZ=UTC", "NO_COLOR=")
	var messages strings.Builder
	command.Stderr = &messages
	terminal, err := pty.StartWithSize(command, &pty.Winsize{Rows: rows, Cols: columns})
	if err != nil {
		return "", err
	}
	defer terminal.Close()
	output, err := io.ReadAll(terminal)
	// Linux ends the reading of a terminal that nobody writes to any more with EIO.
	if err != nil && !errors.Is(err, syscall.EIO) {
		return "", err
	}
	err = command.Wait()
	if got := command.ProcessState.ExitCode(); got != exitCode {
		return "", errors.Join(context.Cause(ctx), err, fmt.Errorf("verify: got exit code %d, expected %d:\n%s%s", got, exitCode, messages.String(), output))
	}
	return string(output), nil
}
