package image

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"time"
)

// WriteProgramLayer writes at layer the tar file of a root file system that
// holds one static program, under name in its root.
func WriteProgramLayer(layer, name, program string) error {
	content, err := os.Open(program)
	if err != nil {
		return err
	}
	defer content.Close()
	info, err := content.Stat()
	if err != nil {
		return err
	}
	file, err := os.Create(layer)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(file)
	// The time of the file would make every build another image.
	err = archive.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: info.Size(), ModTime: time.Unix(0, 0)})
	if err == nil {
		_, err = io.Copy(archive, content)
	}
	return errors.Join(err, archive.Close(), file.Close())
}
