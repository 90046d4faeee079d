package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"stateful-postgres/local/internal/image"
	"stateful-postgres/local/internal/layout"
	"stateful-postgres/local/internal/setup/build"
	"stateful-postgres/local/internal/setup/host"
	"stateful-postgres/local/internal/setup/pulumi"
	"stateful-postgres/local/internal/setup/tool"
	"stateful-postgres/local/internal/status"
	"stateful-postgres/local/postgresimage"
)

// setup is what the steps share.
type setup struct {
	layout layout.Layout
	facts  host.Facts
	status *status.Status
	// goOnly leaves out what Pulumi programs in Go do not need.
	goOnly bool
}

// checkHost refuses a machine that cannot run the local cluster, before
// anything on it is touched.
func checkHost() (host.Facts, error) {
	if err := host.CompletePath(); err != nil {
		return host.Facts{}, err
	}
	facts, err := host.Inspect()
	if err != nil {
		return host.Facts{}, err
	}
	return facts, refusal(facts)
}

// refusal is the error of a machine that cannot run the local cluster, nil for
// one that can.
func refusal(facts host.Facts) error {
	missing := facts.Missing()
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("the local cluster needs %s; with a cluster and a Pulumi CLI (%s or newer) of your own run `make demo CONTEXT=name`, where name is its kubeconfig context",
		strings.Join(missing, " and "), pulumi.MinVersion)
}

// step runs work with a log of its own under the name that is shown.
func (s setup) step(title, log string, work func(log *tool.Log, update func(string)) error) error {
	return s.status.Step(title, func(update func(string)) error {
		file, err := tool.OpenLog(filepath.Join(s.layout.Logs(), "setup-"+log+".log"))
		if err != nil {
			return err
		}
		defer file.Close()
		return work(file, update)
	})
}

func (s setup) packages(ctx context.Context) error {
	needs, err := s.facts.PackageNeeds(ctx)
	if err != nil || needs.Nothing() {
		return err
	}
	return s.step("Installing Debian packages", "packages", func(log *tool.Log, update func(string)) error {
		return host.Install(ctx, log, needs, update)
	})
}

func (s setup) postgresImages(ctx context.Context) error {
	for _, release := range postgresimage.Releases {
		path := s.layout.Image(release.File())
		if image.Fresh(path, release.Image(), release.Inputs()) {
			continue
		}
		err := s.step("Assembling the image of PostgreSQL "+release.Major, release.File(), func(log *tool.Log, update func(string)) error {
			temp, err := s.temp(release.File() + "-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(temp)
			return release.Build(ctx, log, path, temp, update)
		})
		if err != nil {
			return err
		}
	}
	// What a set-up of an earlier version made.
	if err := os.Remove(s.layout.Image("postgres")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// programs compiles the Pulumi program and verify, and builds the cluster's
// programs and, unless there is a Pulumi CLI to use, the Pulumi toolchain.
func (s setup) programs(ctx context.Context) error {
	versions, err := build.ReadVersions(s.layout)
	if err != nil {
		return err
	}
	wanted, err := s.wanted(ctx, versions)
	if err != nil {
		return err
	}
	builder := &build.Builder{Layout: s.layout, Versions: versions}
	stale, err := builder.Stale(wanted)
	if err != nil {
		return err
	}
	// The program and verify are made of few modules, and compiled while all
	// the others are downloaded. What they share with the others is compiled
	// then.
	err = together(ctx,
		func(ctx context.Context) error {
			return s.step("Building the program and verify", "project", func(log *tool.Log, update func(string)) error {
				return build.Project(ctx, s.layout, log, update)
			})
		},
		func(ctx context.Context) error {
			if len(stale) == 0 {
				return nil
			}
			return s.step("Downloading Kubernetes and Pulumi", "modules", func(log *tool.Log, update func(string)) error {
				return build.Fetch(ctx, log, stale, update)
			})
		},
	)
	if err != nil {
		return err
	}
	if len(stale) == 0 {
		return nil
	}
	return s.step("Building Kubernetes and Pulumi", "build", func(log *tool.Log, update func(string)) error {
		builder.Log = log
		builder.Place = func(ctx context.Context, p build.Program, built string) error {
			if p.Name == "pulumi-resource-kubernetes" {
				return pulumi.InstallProvider(ctx, s.layout, log, versions.Provider, built)
			}
			return build.Rename(p, built)
		}
		return builder.Build(ctx, stale, update)
	})
}

// wanted lists the programs that this machine needs. It removes those that would
// hide the Pulumi CLI that is to be used.
func (s setup) wanted(ctx context.Context, versions build.Versions) ([]build.Program, error) {
	wanted := build.Cluster(s.layout)
	cli, err := pulumi.Find(ctx, s.layout, os.Getenv("PATH"))
	if err != nil {
		return nil, err
	}
	if cli != nil && cli.Recent() {
		return wanted, pulumi.RemoveOwn(s.layout)
	}
	if cli != nil {
		s.status.Note("%s is %s; %s or newer is needed, so one is built for this checkout", cli.Path, cli.Version, pulumi.MinVersion)
	}
	return append(wanted, needed(build.Pulumi(s.layout, versions), s.goOnly)...), nil
}

// needed leaves out the programs for other languages than Go, but not those
// that are there: they would no longer fit the CLI.
func needed(programs []build.Program, goOnly bool) []build.Program {
	return slices.DeleteFunc(programs, func(p build.Program) bool {
		_, missing := os.Stat(p.Product)
		return goOnly && p.OtherLanguage && missing != nil
	})
}

// programImages makes the images that hold one program of ours each.
func (s setup) programImages(context.Context) error {
	for _, p := range []struct {
		file, image string
		config      image.Config
	}{
		{"pause", image.Pause, image.Config{Entrypoint: []string{"/pause"}}},
		{"coredns", image.CoreDNS, image.Config{
			Entrypoint:   []string{"/coredns"},
			ExposedPorts: map[string]struct{}{"53/tcp": {}, "53/udp": {}},
		}},
	} {
		program := filepath.Join(s.layout.Lib(), p.file)
		digest, err := fileDigest(program)
		if err != nil {
			return err
		}
		inputs := fmt.Sprintf("%s %v", digest, p.config)
		if image.Fresh(s.layout.Image(p.file), p.image, inputs) {
			continue
		}
		temp, err := s.temp(p.file + "-image-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temp)
		layer := filepath.Join(temp, "root.tar")
		if err := image.WriteProgramLayer(layer, p.file, program); err != nil {
			return err
		}
		_, err = image.Write(s.layout.Image(p.file), image.Image{
			Name: p.image, Architecture: runtime.GOARCH, Config: p.config, Inputs: inputs,
		}, layer)
		if err != nil {
			return err
		}
	}
	return nil
}

func fileDigest(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", hash.Sum(nil)), nil
}

// temp makes a folder for what is not finished. It can be entered by everybody:
// apt fetches packages as a user of its own.
func (s setup) temp(prefix string) (string, error) {
	if err := os.MkdirAll(s.layout.Temp(), 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(s.layout.Temp(), prefix)
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}
