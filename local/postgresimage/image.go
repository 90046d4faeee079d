// Package postgresimage assembles the PostgreSQL images of the local cluster from
// Debian's packages. A container of one behaves as one of the official image:
// the same variables, user, folders and signals.
package postgresimage

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"stateful-postgres/local/internal/image"
	"stateful-postgres/local/internal/setup/tool"
)

// Release is what an image is made of.
type Release struct {
	// Major is the major version of PostgreSQL, and Suite the release of Debian
	// that has it, whatever release this machine runs.
	Major, Suite string
	// Packages are installed besides the server.
	Packages []string
}

// Releases are the images of the local cluster. The first is the one that stacks
// use: the major version of the component's own default, with Patroni. The other
// shows what happens to data of another major version.
var Releases = []Release{
	{Major: "17", Suite: "trixie", Packages: []string{"patroni"}},
	{Major: "15", Suite: "bookworm"},
}

// Image is the image's name.
func (r Release) Image() string { return image.Postgres + ":" + r.Major }

// File is the name of its archive, as layout.Layout.Image takes it.
func (r Release) File() string { return "postgres-" + r.Major }

var (
	//go:embed docker-entrypoint.sh
	entrypoint []byte
	//go:embed prepare-hook.sh
	prepareHook []byte
	//go:embed finish-hook.sh
	finishHook []byte
)

// packages are installed besides the essential ones. initdb needs a name for
// its user, which libnss-wrapper gives to uids that have none.
func (r Release) packages() []string {
	return append([]string{"postgresql-" + r.Major, "libnss-wrapper"}, r.Packages...)
}

// Inputs identifies what the image is made of. The packages' own versions are
// not part of it: they are those of the day on which the image is made.
func (r Release) Inputs() string {
	hash := sha256.New()
	fmt.Fprintln(hash, r.Major, r.Suite, runtime.GOARCH, r.mmdebstrap("", "", ""), r.config(""))
	for _, file := range [][]byte{entrypoint, prepareHook, finishHook} {
		fmt.Fprintln(hash, len(file))
		hash.Write(file)
	}
	return fmt.Sprintf("%x", hash.Sum(nil))
}

// config is that of the official image; version is the server's.
func (r Release) config(version string) image.Config {
	return image.Config{
		Entrypoint:   []string{"docker-entrypoint.sh"},
		Cmd:          []string{"postgres"},
		ExposedPorts: map[string]struct{}{"5432/tcp": {}},
		Volumes:      map[string]struct{}{"/var/lib/postgresql/data": {}},
		StopSignal:   "SIGINT", // a fast shutdown
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/" + r.Major + "/bin",
			"LANG=en_US.utf8",
			"PG_MAJOR=" + r.Major,
			"PG_VERSION=" + version,
			"PGDATA=/var/lib/postgresql/data",
		},
	}
}

// Build assembles the image and writes its archive to path. It works in temp,
// which must be an empty folder.
func (r Release) Build(ctx context.Context, log *tool.Log, path, temp string, update func(string)) error {
	sources, err := sources(ctx, log, r.Suite, update)
	if err != nil {
		return err
	}
	files := []struct {
		name string
		text []byte
	}{
		{entrypointFile, entrypoint},
		{prepareFile, prepareHook},
		{finishFile, finishHook},
		{sourcesFile, []byte(sources.list)},
		{aptFile, []byte(sources.config)},
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(temp, f.name), f.text, 0o755); err != nil {
			return err
		}
	}
	keys := filepath.Join(temp, "keys")
	if err := copyKeys(keys, sources.keys); err != nil {
		return err
	}
	layer, version := filepath.Join(temp, "root.tar"), filepath.Join(temp, "version")
	err = log.Run(ctx, tool.Command{
		Args: r.mmdebstrap(temp, keys, layer),
		Env: []string{
			"TMPDIR=" + temp, "PG_MAJOR=" + r.Major,
			"ENTRYPOINT=" + filepath.Join(temp, entrypointFile), "VERSION_FILE=" + version,
		},
		Line: func(line string) { update(strings.TrimPrefix(line, "I: ")) },
	})
	if err != nil {
		return err
	}
	installed, err := os.ReadFile(version)
	if err != nil {
		return err
	}
	update("writing the archive")
	_, err = image.Write(path, image.Image{
		Name: r.Image(), Architecture: runtime.GOARCH, Inputs: r.Inputs(),
		Config: r.config(string(bytes.TrimSpace(installed))),
	}, layer)
	return err
}

const (
	entrypointFile = "docker-entrypoint.sh"
	prepareFile    = "prepare-hook.sh"
	finishFile     = "finish-hook.sh"
	sourcesFile    = "sources.list"
	aptFile        = "apt.conf"
)

// mmdebstrap returns the command that makes the root file system. It has a
// mount namespace of its own: whatever ends it, no mount of it stays behind in
// the folder, and the folder can be removed.
func (r Release) mmdebstrap(temp, keys, layer string) []string {
	args := []string{
		"unshare", "--mount", "--propagation", "private",
		"mmdebstrap", "--mode=root", "--variant=essential", "--format=tar", "--skip=output/dev", "--skip=cleanup/apt", "--skip=cleanup/run",
		"--keyring=" + keys,
		"--include=" + strings.Join(r.packages(), ","),
		"--aptopt=" + filepath.Join(temp, aptFile),
		// Nothing of it needs to survive a crash.
		"--dpkgopt=force-unsafe-io",
	}
	for _, unread := range []string{"/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*/*"} {
		args = append(args, "--dpkgopt=path-exclude="+unread)
	}
	return append(args,
		"--essential-hook="+filepath.Join(temp, prepareFile),
		"--customize-hook="+filepath.Join(temp, finishFile),
		r.Suite, layer, filepath.Join(temp, sourcesFile),
	)
}

// copyKeys collects the files in which the machine keeps the keys that it
// trusts for its package sources.
func copyKeys(dir string, files []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i, path := range files {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		// The number keeps files of the same name in different folders apart.
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d-%s", i, filepath.Base(path))), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
