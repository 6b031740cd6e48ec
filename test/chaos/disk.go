package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/leasehold/leasehold/test/lab"
)

const (
	// diskSize is a disk's. The file behind it takes no more space than is in use.
	diskSize = 2 << 30
	block    = 4096
)

// disk is a file system of its own, in a file, that a replica has its data on.
type disk struct {
	image, path string
	mounted     bool
	thaw        func() error // nil while it is not frozen
}

// makeDisk makes the file system and mounts it at the path.
func makeDisk(ctx context.Context, image, path string) (*disk, error) {
	d := &disk{image: image, path: path}
	file, err := os.Create(image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(file.Truncate(diskSize), file.Close(), os.Mkdir(path, 0o700)); err != nil {
		return nil, err
	}
	if err := lab.Command(ctx, "mkfs.ext4", "-q", "-m", "0", image); err != nil {
		return nil, err
	}
	if err := lab.Command(ctx, "mount", "-o", "loop,discard", image, path); err != nil {
		return nil, err
	}
	d.mounted = true
	return d, nil
}

// remove unmounts the file system and deletes it. Nobody uses it any more.
func (d *disk) remove() error {
	err := d.unfreeze()
	if d.mounted {
		err = errors.Join(err, lab.Command(context.Background(), "umount", d.path))
		d.mounted = false
	}
	return errors.Join(err, os.Remove(d.image))
}

func (d *disk) filler() string { return filepath.Join(d.path, "filler") }

// fill leaves no space on the disk.
func (d *disk) fill(ctx context.Context) error {
	size := int64(0)
	for chunk := int64(diskSize); chunk >= block; chunk /= 2 {
		err := lab.Command(ctx, "fallocate", "--offset", fmt.Sprint(size), "--length", fmt.Sprint(chunk), d.filler())
		if err == nil {
			size += chunk
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if size == 0 {
		return fmt.Errorf("%s cannot be filled", d.path)
	}
	return nil
}

// clear undoes fill; it does nothing where nothing was filled.
func (d *disk) clear() error {
	if err := os.Remove(d.filler()); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// freeze lets nobody write to the disk until unfreeze, or until this program has ended.
func (d *disk) freeze() error {
	const script = `fsfreeze --freeze "$0" && echo frozen && read -r _; fsfreeze --unfreeze "$0"`
	cmd := exec.CommandContext(context.Background(), "sh", "-c", script, d.path)
	input, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	d.thaw = func() error { return errors.Join(input.Close(), cmd.Wait()) }
	if _, err := io.ReadFull(output, make([]byte, len("frozen"))); err != nil {
		return fmt.Errorf("freeze %s: %w", d.path, errors.Join(err, d.unfreeze()))
	}
	return nil
}

// unfreeze undoes freeze; it does nothing where nothing is frozen.
func (d *disk) unfreeze() error {
	if d.thaw == nil {
		return nil
	}
	thaw := d.thaw
	d.thaw = nil
	return thaw()
}

// wipe deletes everything on the disk.
func (d *disk) wipe() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(d.path, e.Name())))
	}
	return err
}
