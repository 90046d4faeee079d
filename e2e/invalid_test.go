package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// invalid are settings of which none can work.
var invalid = map[string]string{
	"replicas":    "two",
	"storage":     "1Qi",
	"nodePort":    "70000",
	"database":    "drop table; --",
	"accessModes": "ReadSometimes",
	"serviceType": "Carrier",
	"colour":      "blue",
}

func TestInvalidSettingsAreAllReportedAtPreview(t *testing.T) {
	t.Parallel()
	f := setup(t, "invalid")
	for key, value := range invalid {
		f.ok(f.Set(f.ctx, key, value))
	}
	for _, result := range []struct {
		name string
		run  func() (output string, ok bool)
	}{
		{"preview", func() (string, bool) { r := f.Preview(f.ctx); return r.Output, r.OK() }},
		{"up", func() (string, bool) { r := f.Up(f.ctx); return r.Output, r.OK() }},
		{"up without preview", func() (string, bool) { r := f.Up(f.ctx, "--skip-preview"); return r.Output, r.OK() }},
	} {
		output, ok := result.run()
		require.False(t, ok, "%s: %s", result.name, output)
		for key, value := range invalid {
			require.Contains(t, output, key, result.name)
			require.Contains(t, output, value, result.name)
		}
	}
	missing := f.Kubectl(f.ctx, "get", "namespace", f.Namespace)
	require.Contains(t, missing.Output, "NotFound", "%s", missing)
}

func TestInvalidSettingsLeaveARunningServerAlone(t *testing.T) {
	t.Parallel()
	f := setup(t, "refused")
	f.up(1)
	f.verify(proven)
	before := f.objects()
	for _, c := range []struct{ key, value string }{
		{"replicas", "2"}, {"replicas", "-1"}, {"replicas", "1.5"},
		{"storage", "0"}, {"user", "pg_root"}, {"image", "not an image"},
	} {
		f.ok(f.Set(f.ctx, c.key, c.value))
		result := f.Up(f.ctx)
		require.False(t, result.OK(), "%s", result)
		require.Contains(t, result.Output, c.key)
		require.Contains(t, result.Output, c.value)
		f.ok(f.Unset(f.ctx, c.key))
		if c.key == "image" {
			f.ok(f.Set(f.ctx, "image", f.Image))
		}
	}
	require.Equal(t, before, f.objects())
	f.ok(f.Up(f.ctx, "--expect-no-changes"))
	f.verify(proven)
}
