// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/daemon"
)

// maxKeyFile bounds the file of a key or a passphrase, in bytes.
const maxKeyFile = 64 << 10

// signFlags are the flags of the commands that sign versions.
func signFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "sign", Usage: "sign every version with the ed25519 key in `FILE` (ssh-keygen -t ed25519); twice while one key replaces another"},
		&cli.StringFlag{Name: "passphrase-file", Usage: "`FILE` with the passphrase of the encrypted keys (default: asked for at the terminal)"},
	}
}

// signingKeys reads the keys of --sign, none without the flag. warn is told of a file that others can read.
func signingKeys(c *cli.Context, warn func(string)) ([]ed25519.PrivateKey, error) {
	var keys []ed25519.PrivateKey
	ask := passphrases(c.Context, c.String("passphrase-file"))
	for _, file := range c.StringSlice("sign") {
		key, err := signingKey(file, ask, warn)
		if err != nil {
			return nil, fmt.Errorf("the signing key %s: %w", file, err)
		}
		if slices.ContainsFunc(keys, func(k ed25519.PrivateKey) bool { return k.Equal(key) }) {
			return nil, daemon.Usage(fmt.Errorf("--sign %s: is the same key once more", file))
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func signingKey(file string, ask func(file string) ([]byte, error), warn func(string)) (ed25519.PrivateKey, error) {
	text, mode, err := readSmall(file)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	key, err := bundle.ParsePrivateKey(text, nil)
	if err == nil && mode.Perm()&0o077 != 0 {
		warn(fmt.Sprintf("the signing key %s can be read by others (mode %04o): chmod 600 %s", file, mode.Perm(), file))
	}
	if !errors.Is(err, bundle.ErrEncrypted) {
		return key, err
	}
	passphrase, err := ask(file)
	if err != nil {
		return nil, err
	}
	defer clear(passphrase)
	return bundle.ParsePrivateKey(text, passphrase)
}

// passphrases returns what finds the passphrase of a key: in a file, or, with file "", at the terminal.
func passphrases(ctx context.Context, file string) func(key string) ([]byte, error) {
	if file == "" {
		return func(key string) ([]byte, error) { return askPassphrase(ctx, key) }
	}
	return func(string) ([]byte, error) {
		text, _, err := readSmall(file)
		if err != nil {
			return nil, fmt.Errorf("its passphrase: %w", err)
		}
		if text = bytes.TrimRight(text, "\r\n"); len(text) == 0 {
			return nil, fmt.Errorf("its passphrase: %s is empty", file)
		}
		return text, nil
	}
}

// askPassphrase asks for the passphrase of a key.
func askPassphrase(ctx context.Context, key string) ([]byte, error) {
	line, err := askHidden(ctx, "passphrase of "+key)
	if errors.Is(err, errNoTerminal) {
		return nil, fmt.Errorf("%w: %w, so give --passphrase-file FILE", bundle.ErrEncrypted, err)
	}
	if err != nil {
		return nil, fmt.Errorf("asking for its passphrase: %w", err)
	}
	return line, nil
}

// readSmall reads a file of at most maxKeyFile bytes, and its mode.
func readSmall(file string) ([]byte, os.FileMode, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(text) > maxKeyFile {
		err = fmt.Errorf("%s is larger than %d bytes", file, maxKeyFile)
	}
	return text, info.Mode(), err
}
