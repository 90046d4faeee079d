package host

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMissingNamesAllThatIsLacking(t *testing.T) {
	t.Parallel()
	debian := Facts{OS: "linux", Arch: "amd64", ID: "debian", Version: "12", Name: "Debian GNU/Linux 12 (bookworm)", AptGet: true}
	change := func(change func(*Facts)) Facts {
		f := debian
		change(&f)
		return f
	}
	for name, c := range map[string]struct {
		facts Facts
		want  []string
	}{
		"Debian 12":          {facts: debian},
		"Debian 13 on arm64": {facts: change(func(f *Facts) { f.Version, f.Arch = "13", "arm64" })},
		"unstable":           {facts: change(func(f *Facts) { f.Version = "" })},
		"containerd of Debian": {facts: change(func(f *Facts) {
			f.Containerd = "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+b1"
		})},
		"containerd of Docker": {facts: change(func(f *Facts) {
			f.Containerd = "containerd containerd.io v2.1.3 c787fb98911740dd3ff2d0e45ce88cdf01410486"
		})},
		"containerd two digits": {facts: change(func(f *Facts) { f.Containerd = "containerd github.com/containerd/containerd 1.10.2 abc" })},
		"old containerd": {
			facts: change(func(f *Facts) { f.Containerd = "containerd github.com/containerd/containerd 1.4.13~ds1 1.4.13~ds1-1" }),
			want:  []string{"containerd 1.6 or newer (found: containerd github.com/containerd/containerd 1.4.13~ds1 1.4.13~ds1-1)"},
		},
		"macOS":  {facts: Facts{OS: "darwin", Arch: "arm64", UID: 501}, want: []string{"Linux (this is darwin)"}},
		"Ubuntu": {facts: change(func(f *Facts) { f.ID, f.Version, f.Name = "ubuntu", "24.04", "Ubuntu 24.04" }), want: []string{"Debian 12 or newer (this is Ubuntu 24.04)"}},
		"Debian 11": {
			facts: change(func(f *Facts) { f.Version, f.Name = "11", "Debian GNU/Linux 11 (bullseye)" }),
			want:  []string{"Debian 12 or newer (this is Debian GNU/Linux 11 (bullseye))"},
		},
		"a user's container of an unknown system on another processor": {
			facts: Facts{OS: "linux", Arch: "riscv64", UID: 1000},
			want:  []string{"an amd64 or arm64 processor (this is riscv64)", "Debian 12 or newer (this is an unknown system)", "root (this is uid 1000)"},
		},
		"no apt-get": {facts: change(func(f *Facts) { f.AptGet = false }), want: []string{"apt-get on PATH"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, c.facts.Missing())
		})
	}
}

func TestReleaseIsParsedAsTheShellWould(t *testing.T) {
	t.Parallel()
	require.Equal(t, map[string]string{
		"PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)",
		"VERSION_ID":  "12",
		"ID":          "debian",
		"VARIANT":     "it",
	}, parseRelease("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n# COMMENT=x\n\nVERSION_ID=\"12\"\nID=debian\nVARIANT='it'\nnonsense\n"))
}

func TestRequirementIsMetByFilesNotByPackages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "15", "bin"), 0o755))
	r := requirement{packages: []string{"postgresql"}, files: []string{filepath.Join(dir, "*", "bin", "initdb")}}
	require.False(t, r.met())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "15", "bin", "initdb"), nil, 0o755))
	require.True(t, r.met())
	r.programs = []string{"sh", "no-such-program"}
	require.False(t, r.met())
}

func TestHalfInstalledPackagesAreBroken(t *testing.T) {
	t.Parallel()
	states := parseStates("a ok installed\nb ok unpacked\nc reinstreq half-installed\nd ok config-files\ne ok half-configured\nf reinstreq installed\n\n")
	for name, want := range map[string]bool{"a": false, "b": true, "c": true, "d": false, "e": true, "f": true, "unknown to dpkg": false} {
		require.Equal(t, want, states[name].broken(), name)
	}
	require.True(t, states["c"].reinstall)
	require.False(t, states["b"].reinstall)
}

const policy = "usr/sbin/policy-rc.d"

func TestInstallationLeavesTheHostAsItWas(t *testing.T) {
	t.Parallel()
	for name, own := range map[string]string{"without a policy": "", "with its own policy": "#!/bin/sh\nexit 0\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := machine(t, own)
			restore, err := keepServicesDown(root)
			require.NoError(t, err)
			text, err := os.ReadFile(filepath.Join(root, policy))
			require.NoError(t, err)
			require.Contains(t, string(text), "exit 101")
			info, err := os.Stat(filepath.Join(root, policy))
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o755), info.Mode())
			require.FileExists(t, filepath.Join(root, "etc/postgresql-common/createcluster.d/stateful-postgres.conf"))
			require.True(t, held(root))

			require.NoError(t, restore())
			requireAsItWas(t, root, own)
		})
	}
}

// A kill can come between any two steps; the next run starts by restoring.
func TestKilledInstallationIsUndoneByTheNext(t *testing.T) {
	t.Parallel()
	const own = "#!/bin/sh\nexit 0\n"
	for name, kill := range map[string]func(t *testing.T, root string){
		"after setting the policy aside": func(t *testing.T, root string) {
			path := filepath.Join(root, policy)
			require.NoError(t, os.Rename(path, aside(path)))
		},
		"before the policy is written": func(t *testing.T, root string) {
			path := filepath.Join(root, policy)
			require.NoError(t, os.Rename(path, aside(path)))
			require.NoError(t, os.WriteFile(path, nil, 0o755))
		},
		"during the installation": func(t *testing.T, root string) {
			_, err := keepServicesDown(root)
			require.NoError(t, err)
		},
		"while restoring": func(t *testing.T, root string) {
			_, err := keepServicesDown(root)
			require.NoError(t, err)
			require.NoError(t, os.Remove(filepath.Join(root, policy)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := machine(t, own)
			kill(t, root)
			require.True(t, held(root))
			restore, err := keepServicesDown(root)
			require.NoError(t, err)
			require.NoError(t, restore())
			requireAsItWas(t, root, own)
		})
	}
}

// machine makes a root folder with a policy of its own, if not empty.
func machine(t *testing.T, policyText string) string {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "usr/sbin"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "etc"), 0o755))
	if policyText != "" {
		require.NoError(t, os.WriteFile(filepath.Join(root, policy), []byte(policyText), 0o755))
	}
	return root
}

func requireAsItWas(t *testing.T, root, policyText string) {
	t.Helper()
	require.False(t, held(root))
	var files []string
	require.NoError(t, filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		relative, _ := filepath.Rel(root, path)
		files = append(files, relative)
		return err
	}))
	if policyText == "" {
		require.Equal(t, []string{".", "etc", "usr", "usr/sbin"}, files)
		return
	}
	require.Equal(t, []string{".", "etc", "usr", "usr/sbin", policy}, files)
	text, err := os.ReadFile(filepath.Join(root, policy))
	require.NoError(t, err)
	require.Equal(t, policyText, string(text))
}
