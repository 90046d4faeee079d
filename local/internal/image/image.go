// Package image writes container images as OCI image archives: tar files of
// the OCI image layout, which `ctr images import`, podman and current docker
// load. An archive is one file that is either complete or not there, and says
// itself what it holds.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// The images of the local cluster. They exist on this machine alone, so they
// are named after a registry that nobody can pull from.
const (
	Pause    = "localhost/pause:1"
	CoreDNS  = "localhost/coredns:1.14.7"
	Postgres = "localhost/postgres" // a tag for each major version
)

// Image is an image of one layer.
type Image struct {
	// Name is the full name with a tag, such as localhost/pause:1.
	Name string
	// Architecture is Go's name of the processor.
	Architecture string
	// Config is how a container of it runs unless told otherwise.
	Config Config
	// Inputs identifies what the image was made of; Inspect gives it back.
	Inputs string
}

// Config is the part of an OCI image configuration that a runtime applies:
// https://github.com/opencontainers/image-spec/blob/main/config.md.
type Config struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	Volumes      map[string]struct{} `json:"Volumes,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
}

// Summary is what an archive says of its image.
type Summary struct {
	Name string
	// Digest of the manifest: what `ctr images ls` shows for a loaded image.
	Digest string
	Inputs string
}

const (
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	// Layers stay uncompressed: the archive never leaves this machine.
	mediaLayer = "application/vnd.oci.image.layer.v1.tar"

	// containerd names an imported image by this annotation.
	nameAnnotation   = "io.containerd.image.name"
	inputsAnnotation = "stateful-postgres.inputs"

	indexFile  = "index.json"
	layoutFile = "oci-layout"
	layoutText = `{"imageLayoutVersion":"1.0.0"}`
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type configuration struct {
	platform
	Config Config `json:"config"`
	RootFS rootFS `json:"rootfs"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// blob is a file of the archive that is named by its digest.
type blob struct {
	descriptor
	open func() (io.ReadCloser, error)
}

// Write makes the archive of an image whose only layer is the tar file at
// layer. What was at path before stays until the archive is complete.
func Write(path string, img Image, layer string) (Summary, error) {
	root, err := fileBlob(mediaLayer, layer)
	if err != nil {
		return Summary{}, err
	}
	linux := platform{Architecture: img.Architecture, OS: "linux"}
	config, err := jsonBlob(mediaConfig, configuration{
		platform: linux,
		Config:   img.Config,
		RootFS:   rootFS{Type: "layers", DiffIDs: []string{root.Digest}},
	})
	if err != nil {
		return Summary{}, err
	}
	description, err := jsonBlob(mediaManifest, manifest{
		SchemaVersion: 2, MediaType: mediaManifest, Config: config.descriptor, Layers: []descriptor{root.descriptor},
	})
	if err != nil {
		return Summary{}, err
	}
	entry := description.descriptor
	entry.Platform = &linux
	entry.Annotations = map[string]string{nameAnnotation: img.Name, inputsAnnotation: img.Inputs}
	top, err := json.Marshal(index{SchemaVersion: 2, MediaType: mediaIndex, Manifests: []descriptor{entry}})
	if err != nil {
		return Summary{}, err
	}
	if err := writeArchive(path, top, description, config, root); err != nil {
		return Summary{}, fmt.Errorf("image archive %s: %w", path, err)
	}
	return Summary{Name: img.Name, Digest: description.Digest, Inputs: img.Inputs}, nil
}

// writeArchive writes the index first, so that Inspect need not read far.
func writeArchive(path string, top []byte, blobs ...blob) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // gone already when all went well
	archive := tar.NewWriter(file)
	err = errors.Join(
		addFile(archive, indexFile, top),
		addFile(archive, layoutFile, []byte(layoutText)),
	)
	for _, b := range blobs {
		err = errors.Join(err, addBlob(archive, b))
	}
	err = errors.Join(err, archive.Close(), file.Chmod(0o644), file.Close())
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// Inspect returns what the archive at path says of its image.
func Inspect(path string) (Summary, error) {
	file, err := os.Open(path)
	if err != nil {
		return Summary{}, err
	}
	defer file.Close()
	for archive := tar.NewReader(file); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return Summary{}, fmt.Errorf("%s is no OCI image archive: it has no %s", path, indexFile)
		}
		if err != nil {
			return Summary{}, fmt.Errorf("%s is no image archive: %w", path, err)
		}
		if filepath.Clean(header.Name) != indexFile {
			continue
		}
		var top index
		if err := json.NewDecoder(archive).Decode(&top); err != nil {
			return Summary{}, fmt.Errorf("%s: %s: %w", path, indexFile, err)
		}
		if len(top.Manifests) != 1 {
			return Summary{}, fmt.Errorf("%s holds %d images, expected 1", path, len(top.Manifests))
		}
		entry := top.Manifests[0]
		return Summary{Name: entry.Annotations[nameAnnotation], Digest: entry.Digest, Inputs: entry.Annotations[inputsAnnotation]}, nil
	}
}

// Fresh says whether path holds an image of that name made of those inputs. A
// file that is something else is not fresh either.
func Fresh(path, name, inputs string) bool {
	summary, err := Inspect(path)
	return err == nil && summary.Name == name && summary.Inputs == inputs
}

func jsonBlob(mediaType string, value any) (blob, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return blob{}, err
	}
	return blob{
		descriptor: descriptor{MediaType: mediaType, Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(text)), Size: int64(len(text))},
		open:       func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil },
	}, nil
}

func fileBlob(mediaType, path string) (blob, error) {
	file, err := os.Open(path)
	if err != nil {
		return blob{}, err
	}
	defer file.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, file)
	if err != nil {
		return blob{}, err
	}
	return blob{
		descriptor: descriptor{MediaType: mediaType, Digest: fmt.Sprintf("sha256:%x", hash.Sum(nil)), Size: size},
		open:       func() (io.ReadCloser, error) { return os.Open(path) },
	}, nil
}

func addBlob(archive *tar.Writer, b blob) error {
	content, err := b.open()
	if err != nil {
		return err
	}
	defer content.Close()
	name := "blobs/sha256/" + b.Digest[len("sha256:"):]
	if err := archive.WriteHeader(header(name, b.Size)); err != nil {
		return err
	}
	_, err = io.Copy(archive, content)
	return err
}

func addFile(archive *tar.Writer, name string, content []byte) error {
	if err := archive.WriteHeader(header(name, int64(len(content)))); err != nil {
		return err
	}
	_, err := archive.Write(content)
	return err
}

func header(name string, size int64) *tar.Header {
	return &tar.Header{Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)}
}
