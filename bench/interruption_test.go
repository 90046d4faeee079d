package main

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	localpostgres "stateful-postgres/internal/postgres"
)

func TestPausesAreThoseThatAreLong(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	at := func(milliseconds ...int) []time.Time {
		var moments []time.Time
		for _, m := range milliseconds {
			moments = append(moments, start.Add(time.Duration(m)*time.Millisecond))
		}
		return moments
	}
	for _, c := range []struct {
		acknowledged []time.Time
		expected     time.Duration
	}{
		{nil, 0},
		{at(0), 0},
		{at(0, 10, 20, 120), 0},
		{at(0, 10, 121), 111 * time.Millisecond},
		{at(0, 500, 510, 710), 700 * time.Millisecond},
	} {
		require.Equal(t, c.expected, pauses(c.acknowledged), "%v", c.acknowledged)
	}
}

func TestOutageOfAServerIsSeen(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	host, err := startHostServer(ctx, filepath.Join(t.TempDir(), "host"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, host.remove()) })
	config, err := host.connection("postgres")
	require.NoError(t, err)
	require.NoError(t, localpostgres.Execute(ctx, config, "create table writes (id bigint generated always as identity primary key)"))

	first, err := host.postmaster()
	require.NoError(t, err)
	for _, c := range []struct {
		name  string
		event func(context.Context) error
	}{{"restart", host.restart}, {"crash", host.crash}, {"restart after a crash", host.restart}} {
		taken, err := outage(config, c.event)(ctx)
		require.NoError(t, err, c.name)
		require.Greater(t, taken, time.Duration(0), c.name)
		require.Less(t, taken, interruptionTimeout, c.name)
		next, err := host.postmaster()
		require.NoError(t, err)
		require.NotEqual(t, first, next, c.name)
		first = next
	}

	// Nothing breaks, so nothing was interrupted.
	short, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_, err = outage(config, func(context.Context) error { return nil })(short)
	require.ErrorContains(t, err, "after 1 broken connections")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
