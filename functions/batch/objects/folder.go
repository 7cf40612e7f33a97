package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// scratch is the folder, below the root, in which files are written before they get their
// names.
const scratch = "_sluice/tmp"

// Folder is a Store of files, as on a volume. It isn't gocloud's fileblob, which looks
// whether a file is there and then replaces it, so that of two writers the second wins, and
// whose listing leaves files out where a folder's name begins another file's.
type Folder struct {
	root string
	// link gives a file a second name, unless there is one of that name.
	link func(from, to string) error
}

// OpenFolder opens a folder, which has to be there.
func OpenFolder(root string) (*Folder, error) {
	info, err := os.Stat(root)
	if err != nil {
		return nil, fmt.Errorf("opening folder %s: %w", root, toldByFiles(err))
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("opening folder %s: %w: it is a file", root, ErrMissing)
	}
	return &Folder{root: root, link: os.Link}, nil
}

func (f *Folder) path(key string) (string, error) {
	local := filepath.FromSlash(key)
	if !filepath.IsLocal(local) {
		return "", fmt.Errorf("%q: %w: it leads out of the folder", key, ErrRefused)
	}
	return filepath.Join(f.root, local), nil
}

// List yields files, folder by folder, each in the order of its names. A link to a file is
// one, as in the volume of a ConfigMap; one to a folder, and what is no file, is left out.
func (f *Folder) List(ctx context.Context, prefix, from string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		err := fs.WalkDir(os.DirFS(f.root), ".", func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case ctx.Err() != nil:
				return ctx.Err()
			case entry.IsDir():
				return enter(path, prefix, from)
			case !strings.HasPrefix(path, prefix) || walked(path) < walked(from):
				return nil
			}
			info, err := os.Stat(filepath.Join(f.root, filepath.FromSlash(path)))
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err != nil:
				return err
			case !info.Mode().IsRegular():
				return nil
			}
			if !yield(Object{Key: path, Size: info.Size()}, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(Object{}, fmt.Errorf("listing files: %w", toldByFiles(err)))
		}
	}
}

// enter leaves out the folders in which nothing is asked for.
func enter(path, prefix, from string) error {
	inside := path + "/"
	switch {
	case path == ".":
		return nil
	// Kubernetes keeps the files of a ConfigMap's volume in a folder with such a name.
	case strings.HasPrefix(filepath.Base(path), ".."):
		return fs.SkipDir
	case path == scratch, !strings.HasPrefix(inside, prefix) && !strings.HasPrefix(prefix, inside):
		return fs.SkipDir
	case walked(inside) < walked(from) && !strings.HasPrefix(from, inside):
		return fs.SkipDir
	}
	return nil
}

// walked is a key by which others sort as they are walked: what is in a folder comes
// before what has a longer name than the folder's.
func walked(key string) string { return strings.ReplaceAll(key, "/", "\x00") }

// Open reads a file.
func (f *Folder) Open(_ context.Context, key string, offset int64) (io.ReadCloser, error) {
	path, err := f.path(key)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path) //nolint:gosec // within the folder
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", key, toldByFiles(err))
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("opening %s: %w", key, toldByFiles(err))
	}
	return file, nil
}

// Create writes a file under another name, and then links it to its own, which no two can
// do.
func (f *Folder) Create(_ context.Context, key string, content io.Reader) error {
	path, err := f.path(key)
	if err != nil {
		return err
	}
	if err := f.write(path, content); err != nil {
		return fmt.Errorf("writing %s: %w", key, toldByFiles(err))
	}
	return nil
}

func (f *Folder) write(path string, content io.Reader) error {
	temporary := filepath.Join(f.root, filepath.FromSlash(scratch))
	for _, folder := range []string{temporary, filepath.Dir(path)} {
		if err := os.MkdirAll(folder, 0o777); err != nil { //nolint:gosec // as the user's umask has it
			return err
		}
	}
	file, err := os.CreateTemp(temporary, "")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = io.Copy(file, content)
	if err == nil {
		// A name that survives what it names would be a part that is there and isn't whole.
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	// Where files have the modes that their volume is mounted with, these hold.
	if err := os.Chmod(file.Name(), 0o644); err != nil && !unsupported(err) { //nolint:gosec // others read it
		return err
	}
	if err = f.link(file.Name(), path); unsupported(err) {
		return fmt.Errorf("the volume %w: it takes no hard links: %w", ErrUnsafe, err)
	}
	return err
}

// unsupported tells whether a file system doesn't have what was asked of it: of links, vfat and
// SMB say so by EPERM.
func unsupported(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EPERM)
}

// toldByFiles adds what a file system said in its own words.
func toldByFiles(err error) error {
	if errors.Is(err, ErrUnsafe) {
		return err
	}
	for _, said := range []struct{ by, kind error }{
		{fs.ErrExist, ErrExists},
		{fs.ErrNotExist, ErrMissing},
		{fs.ErrPermission, ErrRefused},
		{syscall.ENOSPC, ErrFull},
		{syscall.EDQUOT, ErrFull},
		{syscall.EROFS, ErrRefused},
	} {
		if errors.Is(err, said.by) {
			return fmt.Errorf("%w: %w", said.kind, err)
		}
	}
	return err
}
