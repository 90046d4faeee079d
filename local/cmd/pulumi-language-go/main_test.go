package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRuntimeOptionsBecomeFlags(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file, text string
		want       []string // with DIR for the project's folder
		wantErr    string
	}{
		"no project":      {},
		"runtime as name": {file: "Pulumi.yaml", text: "name: x\nruntime: go\n"},
		"no options":      {file: "Pulumi.yaml", text: "runtime:\n  name: go\n"},
		"relative build target": {
			file: "Pulumi.yaml", text: "runtime:\n  name: go\n  options:\n    buildTarget: .local/bin/program\n",
			want: []string{"-buildTarget=DIR/.local/bin/program"},
		},
		"relative to the program, not to the project": {
			file: "Pulumi.yaml", text: "main: cmd/\nruntime: {name: go, options: {buildTarget: out}}\n",
			want: []string{"-buildTarget=DIR/cmd/out"},
		},
		"absolute build target": {
			file: "Pulumi.yml", text: "runtime: {name: go, options: {buildTarget: /tmp/x}}\n",
			want: []string{"-buildTarget=/tmp/x"},
		},
		"binary": {
			file: "Pulumi.json", text: `{"runtime": {"name": "go", "options": {"binary": "mine"}}}`,
			want: []string{"-binary=mine"},
		},
		"not a string":  {file: "Pulumi.yaml", text: "runtime: {name: go, options: {buildTarget: [a]}}\n", wantErr: "runtime"},
		"not YAML":      {file: "Pulumi.yaml", text: "runtime: {\n", wantErr: "Pulumi.yaml"},
		"unknown field": {file: "Pulumi.yaml", text: "runtime: {name: go, options: {other: 1}}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if c.file != "" {
				require.NoError(t, os.WriteFile(filepath.Join(dir, c.file), []byte(c.text), 0o600))
			}
			below := filepath.Join(dir, "a", "b")
			require.NoError(t, os.MkdirAll(below, 0o700))
			for i := range c.want {
				c.want[i] = strings.Replace(c.want[i], "DIR", dir, 1)
			}
			for _, start := range []string{dir, below} {
				flags, err := hostFlags(start)
				if c.wantErr != "" {
					require.ErrorContains(t, err, c.wantErr)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, c.want, flags)
			}
		})
	}
}
