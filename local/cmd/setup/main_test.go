package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/internal/setup/build"
	"stateful-postgres/local/internal/setup/host"
)

func TestArgumentsAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"help":         {[]string{"-h"}, 0, "Usage: go run ./cmd/setup"},
		"unknown flag": {[]string{"-x"}, 64, "flag provided but not defined: -x"},
		"argument":     {[]string{"all"}, 64, `setup: unexpected argument "all"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stderr bytes.Buffer
			require.Equal(t, c.code, run(t.Context(), c.args, &stderr))
			require.Contains(t, stderr.String(), c.want)
		})
	}
}

func TestRefusalIsOneLineThatSaysHowToGoOn(t *testing.T) {
	t.Parallel()
	require.NoError(t, refusal(host.Facts{OS: "linux", Arch: "amd64", ID: "debian", Version: "12", AptGet: true}))
	err := refusal(host.Facts{OS: "linux", Arch: "amd64", ID: "ubuntu", Name: "Ubuntu 24.04", UID: 1000})
	require.EqualError(t, err, "the local cluster needs Debian 12 or newer (this is Ubuntu 24.04) and root (this is uid 1000); "+
		"with a cluster and a Pulumi CLI (3.228 or newer) of your own run `make demo CONTEXT=name`, where name is its kubeconfig context")
	require.NotContains(t, err.Error(), "\n")
}

// lines is a writer that can be read while somebody writes.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestSecondSetUpWaitsForTheFirst(t *testing.T) {
	t.Parallel()
	l := layout.Layout{Root: t.TempDir()}
	var silent lines
	unlock, err := lock(t.Context(), l, &silent)
	require.NoError(t, err)
	require.Empty(t, silent.String())

	var told lines
	type result struct {
		unlock func()
		err    error
	}
	second := make(chan result)
	go func() {
		unlock, err := lock(t.Context(), l, &told)
		second <- result{unlock, err}
	}()
	require.Eventually(t, func() bool { return strings.Contains(told.String(), "Another set-up") }, 10*time.Second, time.Millisecond)
	select {
	case <-second:
		t.Fatal("the second set-up did not wait")
	default:
	}
	unlock()
	got := <-second
	require.NoError(t, got.err)
	got.unlock()
	require.Equal(t, 1, strings.Count(told.String(), "\n"), "said once")
}

func TestWaitingForTheLockCanBeInterrupted(t *testing.T) {
	t.Parallel()
	l := layout.Layout{Root: t.TempDir()}
	unlock, err := lock(t.Context(), l, &lines{})
	require.NoError(t, err)
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = lock(ctx, l, &lines{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestSetUpRemovesWhatAnUnfinishedOneLeft(t *testing.T) {
	t.Parallel()
	l := layout.Layout{Root: t.TempDir()}
	left := filepath.Join(l.Temp(), "build-1", "half")
	require.NoError(t, os.MkdirAll(left, 0o755))
	unlock, err := lock(t.Context(), l, &lines{})
	require.NoError(t, err)
	unlock()
	require.NoDirExists(t, l.Temp())
}

func TestProgramsForOtherLanguagesAreLeftOutUnlessTheyAreThere(t *testing.T) {
	t.Parallel()
	l := layout.Layout{Root: t.TempDir()}
	programs := func() []build.Program { return build.Pulumi(l, build.Versions{}) }
	names := func(goOnly bool) []string {
		var names []string
		for _, p := range needed(programs(), goOnly) {
			names = append(names, p.Name)
		}
		return names
	}
	inGo := []string{"pulumi", "pulumi-language-go", "pulumi-language-go", "pulumi-resource-kubernetes"}
	require.Equal(t, inGo, names(true))
	require.Len(t, names(false), len(programs()))
	require.NoError(t, os.MkdirAll(l.Bin(), 0o755))
	require.NoError(t, os.WriteFile(l.Binary("pulumi-language-yaml"), nil, 0o755))
	require.ElementsMatch(t, append(inGo, "pulumi-language-yaml"), names(true))
}

func TestFirstFailureInterruptsWhatRunsBesideIt(t *testing.T) {
	t.Parallel()
	failure := errors.New("no mirror answers")
	var done []string
	begun := make(chan struct{})
	err := together(t.Context(),
		func(ctx context.Context) error {
			close(begun)
			<-ctx.Done()
			done = append(done, "interrupted")
			return ctx.Err()
		},
		inOrder(
			func(context.Context) error { <-begun; return failure },
			func(context.Context) error { done = append(done, "went on"); return nil },
		),
	)
	require.ErrorIs(t, err, failure)
	require.Equal(t, []string{"interrupted"}, done)
	require.NoError(t, together(t.Context(), inOrder(func(ctx context.Context) error { return ctx.Err() })))
}
