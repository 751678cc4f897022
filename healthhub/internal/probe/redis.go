// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
)

// maxRedisLine bounds an answer to PING; errors of Redis have one line.
const maxRedisLine = 512

// redisLook makes the look of kind redis: PING (RESP2), and what the server says to somebody without a password.
func redisLook(s setting.Check, files *identity.Files) Func {
	g := newGreeting(s, files, setting.RedisAddress)
	g.talk = func(conn net.Conn) (Result, error) {
		_, unheard := io.WriteString(conn, "*1\r\n$4\r\nPING\r\n")
		line, err := readRedis(conn) // one with too many clients says so, and closes without listening
		if err != nil {
			if unheard != nil {
				err = unheard
			}
			return Result{}, err
		}
		return judgeRedis(line), nil
	}
	return g.look
}

// errNotRedis says that what was answered is none of the protocol's lines.
var errNotRedis = errors.New("it does not speak the protocol of Redis")

// readRedis reads a simple string or an error, with its first character.
func readRedis(r io.Reader) (string, error) {
	line, err := bufio.NewReaderSize(io.LimitReader(r, maxRedisLine), maxRedisLine).ReadString('\n')
	if line != "" && line[0] != '+' && line[0] != '-' || len(line) >= maxRedisLine {
		return "", errNotRedis
	}
	if err != nil {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// judgeRedis knows the errors that say how a server is (redis, src/server.c: shared objects, processCommand).
func judgeRedis(line string) Result {
	if line == "+PONG" {
		return pass("PONG")
	}
	said, isError := strings.CutPrefix(line, "-")
	if !isError {
		return pass("answers %q", said)
	}
	switch code, _, _ := strings.Cut(said, " "); {
	case code == "NOAUTH", code == "NOPERM", code == "WRONGPASS", strings.HasPrefix(said, "ERR operation not permitted"):
		return pass("alive, and wants a password")
	case code == "LOADING":
		return fail("is loading its data: %s", said).advise("wait: how long it takes stands in loading_eta_seconds of INFO")
	case code == "MASTERDOWN":
		return fail("has lost its master, and answers nobody: %s", said).advise("see the master; replica-serve-stale-data yes would let it answer")
	case code == "BUSY":
		return fail("is busy with a script, and answers nobody else: %s", said).advise("SCRIPT KILL ends one that has not written; see what it does")
	case code == "DENIED":
		return fail("lets nobody in from here: %s", said).advise("give it a password, or turn its protected-mode off")
	case code == "MISCONF":
		return result(health.Warn, "cannot save, and takes no writes: %s", said).advise("see whether its disk is full or not writable, and its log")
	case strings.HasPrefix(said, "ERR max number of clients"):
		return result(health.Warn, "has as many clients as it takes: %s", said).advise("raise maxclients, or see who keeps so many connections")
	case strings.HasPrefix(said, "ERR unknown command"):
		return pass("alive, and does not know PING")
	}
	return result(health.Warn, "answers with an error: %s", said).advise("see the log of the server")
}
