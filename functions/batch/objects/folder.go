package objects

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// scratch is the folder, below that of an output, in which files are written before they get their
// names. What is in one is in no listing.
const scratch = "_sluice/tmp"

// Folder is a Store of files, as on a volume. It isn't gocloud's fileblob, which looks
// whether a file is there and then replaces it, so that of two writers the second wins, and
// whose listing leaves files out where a folder's name begins another file's.
type Folder struct {
	root string
	// link gives a file a second name, unless there is one of that name.
	link func(from, to string) error
	// scratch is its own: nothing else of the root needs to be writable than what an output has.
	scratch string
}

// OpenFolder opens a folder, which has to be there, to write below a prefix of it.
func OpenFolder(root, prefix string) (*Folder, error) {
	info, err := os.Stat(root)
	if err != nil {
		return nil, fmt.Errorf("opening folder %s: %w", root, toldByFiles(err))
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("opening folder %s: %w: it is a file", root, ErrMissing)
	}
	f := &Folder{root: root, link: os.Link}
	f.scratch, err = f.path(path.Join(prefix, scratch))
	return f, err
}

func (f *Folder) path(key string) (string, error) {
	local := filepath.FromSlash(key)
	if !filepath.IsLocal(local) {
		return "", fmt.Errorf("%q: %w: it leads out of the folder", key, ErrRefused)
	}
	return filepath.Join(f.root, local), nil
}

// List yields files, folder by folder, each in the order of its names, which it holds of a folder
// from where it begins. A link to a file is one, as in the volume of a ConfigMap; one to a folder, and
// what is no file, is left out.
func (f *Folder) List(ctx context.Context, prefix, from string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		w := walk{root: f.root, prefix: prefix, from: from, yield: yield}
		if _, err := w.folder(ctx, ""); err != nil {
			yield(Object{}, fmt.Errorf("listing files: %w", toldByFiles(err)))
		}
	}
}

// walk is a listing.
type walk struct {
	root, prefix, from string
	yield              func(Object, error) bool
}

// folder yields what is in one, and tells whether to go on.
func (w *walk) folder(ctx context.Context, key string) (bool, error) {
	names, err := w.names(key)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if more, err := w.entry(ctx, path.Join(key, name)); err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// namesAtOnce are read at a time.
const namesAtOnce = 1000

// names are those of a folder that may lead to what is asked for, in order.
func (w *walk) names(key string) ([]string, error) {
	folder, err := os.Open(w.path(key))
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	var wanted []string
	for {
		names, err := folder.Readdirnames(namesAtOnce)
		for _, name := range names {
			if w.leads(path.Join(key, name)) {
				wanted = append(wanted, name)
			}
		}
		if errors.Is(err, io.EOF) {
			slices.Sort(wanted)
			return wanted, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// leads tells whether a file of that name is asked for, or what is in a folder of it may be.
func (w *walk) leads(key string) bool {
	inside := key + "/"
	if !strings.HasPrefix(inside, w.prefix) && !strings.HasPrefix(w.prefix, inside) && !strings.HasPrefix(key, w.prefix) {
		return false
	}
	return walked(key) >= walked(w.from) || strings.HasPrefix(w.from, inside)
}

// entry yields a file, or what is in a folder.
func (w *walk) entry(ctx context.Context, key string) (bool, error) {
	info, err := os.Lstat(w.path(key))
	link := err == nil && info.Mode()&fs.ModeSymlink != 0
	if link {
		info, err = os.Stat(w.path(key))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	// Kubernetes keeps the files of a ConfigMap's volume in a folder whose name begins with two dots.
	case info.IsDir() && (link || strings.HasPrefix(path.Base(key), "..") || strings.HasSuffix("/"+key, "/"+scratch)):
		return true, nil
	case info.IsDir():
		return w.folder(ctx, key)
	case !info.Mode().IsRegular() || !strings.HasPrefix(key, w.prefix) || walked(key) < walked(w.from):
		return true, nil
	}
	return w.yield(Object{Key: key, Size: info.Size()}, nil), nil
}

func (w *walk) path(key string) string { return filepath.Join(w.root, filepath.FromSlash(key)) }

// walked is a key by which others sort as they are walked: what is in a folder comes
// before what has a longer name than the folder's.
func walked(key string) string { return strings.ReplaceAll(key, "/", "\x00") }

// Open reads a file.
func (f *Folder) Open(_ context.Context, key string, offset int64) (io.ReadCloser, error) {
	at, err := f.path(key)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(at) //nolint:gosec // within the folder
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
// do. Whoever does so, or finds it done, removes what others have left that were killed while they
// wrote the same.
func (f *Folder) Create(_ context.Context, key string, content io.Reader) error {
	at, err := f.path(key)
	if err != nil {
		return err
	}
	if err := f.write(at, content); err != nil {
		return fmt.Errorf("writing %s: %w", key, toldByFiles(err))
	}
	return nil
}

func (f *Folder) write(at string, content io.Reader) error {
	for _, folder := range []string{f.scratch, filepath.Dir(at)} {
		if err := os.MkdirAll(folder, 0o777); err != nil { //nolint:gosec // as the user's umask has it
			return err
		}
	}
	drafts := draftsOf(at)
	file, err := os.CreateTemp(f.scratch, drafts)
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = io.Copy(file, content)
	if err == nil {
		// A name that survives what it names would be a part that is there and isn't whole.
		err = file.Sync()
	}
	// Where files have the modes that their volume is mounted with, these hold.
	if mode := file.Chmod(0o644); err == nil && !unsupported(mode) {
		err = mode
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	switch err = f.link(file.Name(), at); {
	case unsupported(err):
		return fmt.Errorf("the volume %w: it takes no hard links: %w", ErrUnsafe, err)
	case errors.Is(err, fs.ErrNotExist):
		err = fs.ErrExist // whoever was faster has removed this draft
	}
	if err == nil || errors.Is(err, fs.ErrExist) {
		f.clean(drafts)
	}
	return err
}

// unsupported tells whether a file system doesn't have what was asked of it: of links, vfat and
// SMB say so by EPERM.
func unsupported(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EPERM)
}

// draftsOf begins the names under which a file is written before it has its own.
func draftsOf(at string) string {
	digest := sha256.Sum256([]byte(at))
	return hex.EncodeToString(digest[:16]) + "-"
}

// clean removes drafts of what is there. Those that stay for now go with the folder.
func (f *Folder) clean(drafts string) {
	left, _ := os.ReadDir(f.scratch)
	for _, draft := range left {
		if strings.HasPrefix(draft.Name(), drafts) {
			_ = os.Remove(filepath.Join(f.scratch, draft.Name()))
		}
	}
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
