// Package postgres finds what it takes to start a PostgreSQL server on this
// machine, for tests and benchmarks.
package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"stateful-postgres/internal/required"
)

// FindBinaries returns the folder that holds initdb and postgres: the one on
// PATH, else the newest of Debian's.
func FindBinaries() (string, error) {
	var candidates []string
	if path, err := exec.LookPath("initdb"); err == nil {
		// A link on PATH may lead to one program of many.
		if resolved, err := filepath.EvalSymlinks(path); err == nil {
			candidates = append(candidates, filepath.Dir(resolved))
		}
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		candidates = append(candidates, strings.TrimSpace(string(out)))
	}
	versions, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	slices.SortFunc(versions, func(a, b string) int { return majorVersion(b) - majorVersion(a) })
	for _, folder := range append(candidates, versions...) {
		_, initdb := os.Stat(filepath.Join(folder, "initdb"))
		_, server := os.Stat(filepath.Join(folder, "postgres"))
		if initdb == nil && server == nil {
			return folder, nil
		}
	}
	return "", errors.New("no PostgreSQL server found on PATH or under /usr/lib/postgresql: install it, " +
		"on Debian with: apt-get install postgresql-15")
}

// requireVariable is the environment variable that turns a missing PostgreSQL from
// a test that is left out into one that fails.
const requireVariable = "STATEFUL_POSTGRES_REQUIRE_POSTGRES"

// NeedBinaries is FindBinaries for a test. Without a PostgreSQL it leaves the test
// out, visibly, and fails it when requireVariable is set.
func NeedBinaries(t testing.TB) string {
	t.Helper()
	binaries, err := FindBinaries()
	if err != nil {
		required.Missing(t, requireVariable, err.Error())
	}
	return binaries
}

func majorVersion(binaries string) int {
	version, _ := strconv.Atoi(filepath.Base(filepath.Dir(binaries)))
	return version
}

// UnprivilegedAccount returns the account that a server runs as when root starts
// it, because PostgreSQL refuses to be run by root; nil for any other user, who
// runs it as itself.
func UnprivilegedAccount() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, fmt.Errorf("an account other than root to run PostgreSQL as: %w", err)
	}
	uid, uidErr := strconv.ParseUint(account.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(account.Gid, 10, 32)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
