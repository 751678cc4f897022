// SPDX-License-Identifier: AGPL-3.0-or-later

package repository

import (
	"bufio"
	"context"
	"crypto/sha1" // what git names objects with
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"cloud4.internal/hub/internal/initctl"
)

// readTime bounds one reading, so that a hanging disk is said and not waited for.
const readTime = time.Minute

// Limits of objects that are not files.
const (
	maxCommit = 1 << 20
	maxTree   = 32 << 20
)

// maxMemory bounds the address space of git, in bytes: a small object may be made of a huge one, which git unpacks first.
const maxMemory = 2 << 30

// Reader reads one state of a repository. It is not safe for concurrent use. Close it.
type Reader struct {
	repo *Repository
	// head is the object that the ref named when the reader was made.
	head   string
	ctx    context.Context
	cancel context.CancelFunc
	git    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	said   words
	// own is the directory of the empty repository that git runs in.
	own string
	// ended: git was waited for.
	ended bool
}

// Read begins a reading of what the ref names now. ErrNoRef means that it names nothing.
func (r *Repository) Read(ctx context.Context) (*Reader, error) {
	head, err := r.head()
	if err != nil {
		return nil, err
	}
	rd := &Reader{repo: r, head: head}
	if rd.own, err = emptyRepository(len(head)); err != nil {
		return nil, fmt.Errorf("making a directory for git to run in (TMPDIR can name one): %w", err)
	}
	rd.ctx, rd.cancel = context.WithTimeout(ctx, readTime)
	if err := rd.start(); err != nil {
		rd.cancel()
		os.RemoveAll(rd.own)
		return nil, fmt.Errorf("starting git: %w", err)
	}
	return rd, nil
}

// emptyRepository makes what git takes for a repository without any setting of anybody, in a new directory.
func emptyRepository(nameLength int) (dir string, err error) {
	// A container whose root is read-only has no other place than the second.
	for _, place := range []string{os.TempDir(), initctl.RunDir()} {
		var failed error
		if dir, failed = os.MkdirTemp(place, "confighub-git-"); failed == nil {
			err = nil
			break
		}
		err = errors.Join(err, failed)
	}
	if err != nil {
		return "", err
	}
	config := "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"
	if nameLength == 64 {
		config = "[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectformat = sha256\n"
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "HEAD"), []byte("ref: refs/heads/none\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o600),
		os.Mkdir(filepath.Join(dir, "refs"), 0o700),
	)
	if err != nil {
		os.RemoveAll(dir)
	}
	return dir, err
}

// start runs git. Its environment is this alone; the last four are a second wall behind the empty repository.
func (rd *Reader) start() (err error) {
	rd.git = exec.CommandContext(rd.ctx, rd.repo.program, "cat-file", "--batch-command")
	rd.git.Dir = rd.own
	rd.git.Env = []string{
		"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "HOME=" + rd.own,
		"GIT_DIR=" + rd.own, "GIT_OBJECT_DIRECTORY=" + filepath.Join(rd.repo.dir, "objects"),
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1", "GIT_NO_REPLACE_OBJECTS=1",
		"GIT_NO_LAZY_FETCH=1", "GIT_ALLOW_PROTOCOL=none", "GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0",
	}
	rd.git.Stderr = &rd.said
	rd.git.WaitDelay = time.Second
	if rd.in, err = rd.git.StdinPipe(); err != nil {
		return err
	}
	out, err := rd.git.StdoutPipe()
	if err != nil {
		return err
	}
	rd.out = bufio.NewReaderSize(out, 64<<10)
	if err := rd.git.Start(); err != nil {
		return err
	}
	limit := unix.Rlimit{Cur: maxMemory, Max: maxMemory}
	if err := unix.Prlimit(rd.git.Process.Pid, unix.RLIMIT_AS, &limit, nil); err != nil {
		rd.end()
		return fmt.Errorf("limiting its memory: %w", err)
	}
	return nil
}

// Close ends git and removes its directory.
func (rd *Reader) Close() {
	rd.end()
	os.RemoveAll(rd.own)
}

func (rd *Reader) end() {
	if !rd.ended {
		rd.ended = true
		rd.cancel()
		_ = rd.git.Wait() // it was told to end; what it said is in said
	}
}

// TooLarge is the error for an object of more bytes than wanted.
type TooLarge struct{ Limit int64 }

func (e TooLarge) Error() string { return fmt.Sprintf("is larger than %d MiB", e.Limit>>20) }

// Blob reads a file. One of more than limit bytes is TooLarge and is not read.
func (rd *Reader) Blob(object string, limit int64) ([]byte, error) {
	_, raw, err := rd.object(object, limit, "blob")
	return raw, err
}

// object reads one object of any of the kinds, after a look at its size, and proves its name.
func (rd *Reader) object(name string, limit int64, kinds ...string) (kind string, raw []byte, err error) {
	kind, size, err := rd.ask("info", name)
	if err != nil {
		return "", nil, err
	}
	wanted := false
	for _, k := range kinds {
		wanted = wanted || k == kind
	}
	switch {
	case !wanted:
		return "", nil, fmt.Errorf("the object %s is a %s, not a %s", name, kind, kinds[0])
	case size > limit:
		return "", nil, TooLarge{limit}
	}
	if _, again, err := rd.ask("contents", name); err != nil || again != size {
		return "", nil, errors.Join(fmt.Errorf("the object %s changed", name), err)
	}
	raw = make([]byte, size+1)
	if _, err := io.ReadFull(rd.out, raw); err != nil {
		return "", nil, rd.broken(err)
	}
	raw = raw[:size]
	if nameOf(kind, raw, len(name)) != name {
		return "", nil, fmt.Errorf("the object %s is damaged: its bytes have another name", name)
	}
	return kind, raw, nil
}

// ask sends one command and reads the line that answers it (git-cat-file(1), "Batch output").
func (rd *Reader) ask(command, name string) (kind string, size int64, err error) {
	if _, err := io.WriteString(rd.in, command+" "+name+"\n"); err != nil {
		return "", 0, rd.broken(err)
	}
	line, err := rd.out.ReadSlice('\n')
	if err != nil {
		return "", 0, rd.broken(err)
	}
	fields := strings.Fields(string(line))
	if len(fields) == 2 && fields[1] == "missing" {
		return "", 0, fmt.Errorf("the object %s is missing or damaged: the repository is incomplete (git fsck says more; a partial clone cannot be read)", name)
	}
	if len(fields) == 3 && fields[0] == name {
		if size, err = strconv.ParseInt(fields[2], 10, 64); err == nil && size >= 0 {
			return fields[1], size, nil
		}
	}
	return "", 0, fmt.Errorf("git answered %.80q", line)
}

// broken says why git no longer answers.
func (rd *Reader) broken(err error) error {
	timedOut := rd.ctx.Err()
	rd.end()
	switch text := rd.said.String(); {
	case errors.Is(timedOut, context.DeadlineExceeded):
		return fmt.Errorf("git took longer than %v", readTime)
	case timedOut != nil:
		return timedOut
	case text != "":
		return fmt.Errorf("git: %s", text)
	}
	return fmt.Errorf("git ended: %w", err)
}

// nameOf is the name of an object: the hash over its kind, size and bytes.
func nameOf(kind string, raw []byte, length int) string {
	var h hash.Hash = sha1.New()
	if length == 64 {
		h = sha256.New()
	}
	fmt.Fprintf(h, "%s %d\x00", kind, len(raw))
	h.Write(raw)
	return hex.EncodeToString(h.Sum(nil))
}

// words keeps the beginning of what git says on stderr.
type words struct{ text []byte }

const maxWords = 1 << 10

func (w *words) Write(p []byte) (int, error) {
	w.text = append(w.text, p[:min(len(p), maxWords-len(w.text))]...)
	return len(p), nil
}

// String is one line that can be shown.
func (w *words) String() string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, string(w.text)))
}
