package postgresimage

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInputsAreTheSameEachTime(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, release := range Releases {
		require.Equal(t, release.Inputs(), release.Inputs())
		require.Len(t, release.Inputs(), 64)
		require.False(t, seen[release.Inputs()], "each release has its own")
		seen[release.Inputs()] = true
	}
}

func TestScriptsAreWellFormed(t *testing.T) {
	t.Parallel()
	for file, shell := range map[string]string{entrypointFile: "bash", prepareFile: "sh", finishFile: "sh"} {
		out, err := exec.Command(shell, "-n", file).CombinedOutput()
		require.NoError(t, err, "%s: %s", file, out)
	}
}

// What apt prints for a mirror of one's own, a third party's repository with
// the same names, and sources that are not for running a release.
const targets = `MetaKey: main/binary-amd64/Packages
Codename: trixie
Origin: Debian
Component: main
Release: stable
Repo-URI: https://mirror.example/debian/
Sourcesentry: /etc/apt/sources.list.d/debian.sources:1

Codename: trixie
Origin: Debian
Component: contrib
Repo-URI: https://mirror.example/debian/
Sourcesentry: /etc/apt/sources.list.d/debian.sources:1

Codename: trixie-updates
Origin: Debian
Component: main
Repo-URI: https://mirror.example/debian/
Sourcesentry: /etc/apt/sources.list.d/debian.sources:1

Codename: trixie-security
Origin: Debian
Label: Debian-Security
Component: main
Repo-URI: https://mirror.example/security/
Sourcesentry: /etc/apt/sources.list:12

Codename: trixie-backports
Origin: Debian Backports
Component: main
Repo-URI: https://mirror.example/debian/

Codename: trixie-proposed-updates
Origin: Debian
Component: main
Repo-URI: https://mirror.example/debian/

Codename: trixie
Origin: Docker
Component: main
Repo-URI: https://mirror.example/docker/

Codename: trixie
Origin: Debian
Component: main
Architecture: i386
Repo-URI: https://mirror.example/debian/
Sourcesentry: /etc/apt/sources.list.d/debian.sources:1
`

func TestSourcesAreDebiansOwnOfThisMachine(t *testing.T) {
	t.Parallel()
	require.Equal(t, []entry{
		{uri: "https://mirror.example/debian/", file: "/etc/apt/sources.list.d/debian.sources"},
		{uri: "https://mirror.example/debian/", pocket: "-updates", file: "/etc/apt/sources.list.d/debian.sources"},
		{uri: "https://mirror.example/security/", pocket: "-security", file: "/etc/apt/sources.list"},
	}, debianEntries(targets))
	require.Empty(t, debianEntries(""))
	// Without fetched lists apt does not know an origin.
	require.Empty(t, debianEntries("Component: main\nRepo-URI: https://mirror.example/debian/\n"))
}

func TestWaysToFetchAreTakenOver(t *testing.T) {
	t.Parallel()
	const dump = `APT "";
Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128/";
Acquire::https::Verify-Peer "false";
Acquire::HTTP::Pipeline-Depth "0";
Acquire::Retries "3";
Acquire::Check-Valid-Until "false";
Acquire::IndexTargets::deb::Packages::Optional "0";
Acquire::CompressionTypes::gz "gzip";
Dir::State "var/lib/apt";
DPkg::Post-Invoke:: "rm -f something";
`
	require.Equal(t, `Acquire::http::Proxy "http://proxy.example:3128/";
Acquire::https::Verify-Peer "false";
Acquire::HTTP::Pipeline-Depth "0";
Acquire::Retries "3";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
`, fetchSettings(dump))
}

func TestKeysAreThoseOfTheSources(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	deb822 := filepath.Join(dir, "a.sources")
	oneLine := filepath.Join(dir, "b.list")
	require.NoError(t, os.WriteFile(deb822, []byte("Types: deb\nSigned-By: "+dir+"/first.gpg\n"), 0o600))
	require.NoError(t, os.WriteFile(oneLine, []byte("deb [arch=amd64 signed-by="+dir+"/second.gpg] https://mirror.example/debian stable main\n"), 0o600))
	files, err := keyFiles([]entry{{file: deb822}, {file: oneLine}, {file: deb822}})
	require.NoError(t, err)
	require.Subset(t, files, []string{dir + "/first.gpg", dir + "/second.gpg"})
	for _, file := range files {
		require.NotContains(t, file, "removed")
	}

	require.NoError(t, os.WriteFile(dir+"/first.gpg", []byte("key"), 0o600))
	keys := filepath.Join(dir, "keys")
	require.NoError(t, copyKeys(keys, []string{dir + "/first.gpg", dir + "/second.gpg"}), "a key that is not there is not needed")
	copied, err := os.ReadDir(keys)
	require.NoError(t, err)
	require.Len(t, copied, 1)
}
