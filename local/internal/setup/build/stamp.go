package build

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// A stamp says what a program was made of and which file it is. Size and time
// of the file are part of it: a program that somebody built over it is noticed.
// Asking `go build` instead would take seconds, only to load the modules.

// Fresh says whether p is in place and made of what it would be made of now.
func (b *Builder) Fresh(p Program) (bool, error) {
	want, err := b.stamp(p)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	got, err := os.ReadFile(b.stampFile(p))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return string(got) == want, err
}

// markFresh keeps the stamp of a program that was put in place.
func (b *Builder) markFresh(p Program) error {
	stamp, err := b.stamp(p)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.Layout.Stamps(), 0o755); err != nil {
		return err
	}
	temp := b.stampFile(p) + ".new"
	if err := os.WriteFile(temp, []byte(stamp), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, b.stampFile(p))
}

func (b *Builder) stampFile(p Program) string {
	// A name alone would not do: the wrapper of the language host is called as
	// the host itself.
	return filepath.Join(b.Layout.Stamps(), filepath.Base(filepath.Dir(p.Product))+"-"+p.Name)
}

func (b *Builder) stamp(p Program) (string, error) {
	product, err := os.Stat(p.Product)
	if err != nil {
		return "", err
	}
	inputs, err := b.inputs(p)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("inputs %s\nsize %d\nmodified %d\n", inputs, product.Size(), product.ModTime().UnixNano()), nil
}

// inputs is a digest of all that decides what p becomes.
func (b *Builder) inputs(p Program) (string, error) {
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.Version(), runtime.GOOS, runtime.GOARCH, p.Package, p.Product, b.flags(), environment)
	files := []string{filepath.Join(p.Module, "go.mod"), filepath.Join(p.Module, "go.sum")}
	for _, source := range p.Sources {
		err := filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() && !strings.HasSuffix(path, "_test.go") {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			return "", err
		}
	}
	for _, path := range files {
		if err := hashFile(hash, path); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%x", hash.Sum(nil)), nil
}

func hashFile(w io.Writer, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	fmt.Fprintln(w, path, info.Size())
	_, err = io.Copy(w, file)
	return err
}
