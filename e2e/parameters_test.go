package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// reloadTimeout is for the kubelet to exchange a file of a ConfigMap or Secret, and for
// the server to read it again.
const reloadTimeout = 2 * time.Minute

func TestParametersReloadOrRestartTheServerOrAreRefused(t *testing.T) {
	t.Parallel()
	f := setup(t, "parameters")
	f.up(1)
	f.verify(proven)

	untouched := f.server()
	f.ok(f.SetPath(f.ctx, "parameters.work_mem", "9MB"))
	f.ok(f.Up(f.ctx))
	f.eventually("the server to take work_mem over", reloadTimeout, func() (string, bool) {
		seen := f.sql("show work_mem")
		return seen, seen == "9MB"
	})
	require.Equal(t, untouched, f.server(), "a reload is enough")

	generation := f.generation()
	f.ok(f.SetPath(f.ctx, "parameters.max_connections", "57"))
	f.ok(f.Up(f.ctx))
	require.Equal(t, "57", f.sql("show max_connections"))
	require.Equal(t, "9MB", f.sql("show work_mem"))
	restarted := f.server()
	require.NotEqual(t, untouched.Pod, restarted.Pod)
	require.Zero(t, restarted.Restarts)
	require.Equal(t, generation+1, f.generation(), "restarted once")
	f.verify(proven)

	const settings = "select md5(string_agg(name || '=' || setting, ',' order by name)) from pg_settings"
	objects, server, inEffect := f.unchecked(), f.server(), f.sql(settings)
	for _, c := range []struct{ name, value, says string }{
		{"no_such_parameter", "1", `unrecognized configuration parameter "no_such_parameter"`},
		{"huge_pages", "perhaps", "invalid value for parameter \"huge_pages\": \"perhaps\"\n" +
			"        HINT: Available values: off, on, try."},
		{"max_wal_senders", "-7", `-7 is outside the valid range for parameter "max_wal_senders"`},
		// Valid each for itself, and not together.
		{"superuser_reserved_connections", "57", `"superuser_reserved_connections" (57) plus "reserved_connections" (0) must be less than "max_connections" (57)`},
		{"shared_preload_libraries", "no_such_library", `could not access file "no_such_library"`},
	} {
		f.ok(f.SetPath(f.ctx, "parameters."+c.name, c.value))
		refused := f.Up(f.ctx)
		require.False(t, refused.OK(), "%s", refused)
		require.Contains(t, refused.Output, "does not start with these settings, and the server was left as it is. It says:\n      "+c.says)
		require.Contains(t, refused.Output, "pulumi config rm --path parameters.NAME")
		require.NotContains(t, refused.Output, "skipping missing configuration file")
		require.Equal(t, objects, f.unchecked(), c.name)
		require.Equal(t, server, f.server(), c.name)
		require.Equal(t, inEffect, f.sql(settings), c.name)
		f.ok(f.UnsetPath(f.ctx, "parameters."+c.name))
	}
	// A repetition does not let through what was refused.
	f.ok(f.SetPath(f.ctx, "parameters.no_such_parameter", "1"))
	for range 2 {
		require.False(t, f.Up(f.ctx).OK())
	}
	require.Equal(t, objects, f.unchecked())
	f.ok(f.UnsetPath(f.ctx, "parameters.no_such_parameter"))
	f.ok(f.Up(f.ctx))
	require.Equal(t, objects, f.unchecked())
	f.ok(f.Up(f.ctx, "--expect-no-changes"))
	f.verify(proven)
}

// unchecked are the objects without those of the check of the parameters.
func (f *fixture) unchecked() map[string]object {
	f.t.Helper()
	objects := f.objects()
	for name := range objects {
		if strings.Contains(name, "/postgres-check") {
			delete(objects, name)
		}
	}
	return objects
}
