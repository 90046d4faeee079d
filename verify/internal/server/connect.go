// Package server reaches a PostgreSQL server, waits for one that is starting, and reads the
// evidence that it shows about itself.
package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// attemptDeadline bounds one attempt to connect to one address.
	attemptDeadline = 5 * time.Second
	firstPause      = 50 * time.Millisecond
	longestPause    = time.Second
	// mostNamed is how many things are named that an attempt met at different addresses.
	mostNamed = 3

	noSuchDatabase = "3D000"
)

// Refusal is a server that answered, and that waiting will not change.
type Refusal struct {
	// Code is the SQLSTATE of the answer; empty when the refusal is not the server's word.
	Code    string
	Problem string
	Hint    string
}

func (r *Refusal) Error() string { return r.Problem }

// NoSuchDatabase says whether the server knows no database of that name.
func (r *Refusal) NoSuchDatabase() bool { return r.Code == noSuchDatabase }

// Unreachable is a server that did not answer as long as it was waited for.
type Unreachable struct {
	Attempts int
	// Last is what the last attempt met.
	Last string
	// Cause is why waiting ended.
	Cause error
}

func (u *Unreachable) Error() string {
	return fmt.Sprintf("no answer after %d attempts, at last: %s", u.Attempts, u.Last)
}

func (u *Unreachable) Unwrap() error { return u.Cause }

// Wait connects, and keeps trying while the server is starting, stopping or not to be reached,
// until ctx ends. waiting is called after each attempt with what it met.
func Wait[C any](ctx context.Context, connect func(context.Context) (C, error), waiting func(met string)) (C, error) {
	var none C
	pause := firstPause
	for attempts := 1; ; attempts++ {
		conn, err := connect(ctx)
		if err == nil {
			return conn, nil
		}
		met, refusal := judge(err)
		if refusal != nil {
			return none, refusal
		}
		if ctx.Err() == nil {
			waiting(met)
		}
		select {
		case <-ctx.Done():
			return none, &Unreachable{Attempts: attempts, Last: met, Cause: context.Cause(ctx)}
		case <-time.After(pause):
		}
		pause = min(pause*2, longestPause)
	}
}

// judge says what a failed attempt met, and whether trying again is of no use. What a server said
// counts more than what was met at other addresses.
func judge(err error) (string, *Refusal) {
	var met []string
	var refusal *Refusal
	for _, failure := range failures(err) {
		var serverError *pgconn.PgError
		if errors.As(failure, &serverError) {
			return answered(serverError)
		}
		what, refused := judgeNetwork(failure)
		if refused != nil {
			refusal = cmp.Or(refusal, refused)
		} else if !slices.Contains(met, what) {
			met = append(met, what)
		}
	}
	if len(met) == 0 {
		return "", refusal
	}
	if more := len(met) - mostNamed; more > 0 {
		met = append(met[:mostNamed], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(met, "; "), nil
}

// failures are the errors of each address that was tried.
func failures(err error) []error {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		if joined, ok := inner.(interface{ Unwrap() []error }); ok {
			var all []error
			for _, one := range joined.Unwrap() {
				all = append(all, failures(one)...)
			}
			return all
		}
	}
	return []error{err}
}

// answered says what the error means that a server, or a pooler in its place, answered with. What
// does not pass by itself is refused for good: the rest is tried again.
func answered(err *pgconn.PgError) (string, *Refusal) {
	answer := fmt.Sprintf("the server answered: %s (SQLSTATE %s)", err.Message, err.Code)
	switch {
	case strings.HasPrefix(err.Code, "08"), strings.HasPrefix(err.Code, "58"):
		// A pooler cannot reach the server, or has lost it.
		return answer, nil
	case strings.HasPrefix(err.Code, "57"), strings.HasPrefix(err.Code, "53"):
		// Starting up, shutting down, in recovery, or out of connections or memory.
		return answer, nil
	case strings.HasPrefix(err.Code, "28"):
		return "", &Refusal{Code: err.Code, Problem: answer, Hint: "the server is up; check user and password: " +
			"does the database still have the password that the stack's secret holds?"}
	case err.Code == noSuchDatabase:
		return "", &Refusal{Code: err.Code, Problem: answer, Hint: "the server is up, the database is not there: was it dropped or renamed?"}
	}
	return "", &Refusal{Code: err.Code, Problem: answer}
}

// judgeNetwork says what an address met that no server answered at.
func judgeNetwork(err error) (string, *Refusal) {
	var unchecked *tls.CertificateVerificationError
	switch {
	case errors.As(err, &unchecked):
		return "", &Refusal{Problem: "the server's certificate does not check: " + unchecked.Err.Error(), Hint: certificateHint(unchecked.Err)}
	case strings.Contains(err.Error(), "server refused TLS connection"):
		return "", &Refusal{Problem: "the server offers no encryption (TLS), and nothing was sent without",
			Hint: "the server is up; after a change of tls run: pulumi up; with --dsn see sslmode there, or PGSSLMODE"}
	}
	if errors.Is(err, pgconn.ErrReadOnlyConnection) || errors.Is(err, pgconn.ErrStandbyConnection) {
		// target_session_attrs asks for another server.
		address, _, _ := strings.Cut(lastLine(err), " (")
		return address + ": answers and takes no writes, as a standby does", nil
	}
	var network *net.OpError
	if errors.As(err, &network) && network.Addr != nil {
		cause := network.Err
		var number syscall.Errno
		if errors.As(network.Err, &number) {
			cause = number
		}
		return fmt.Sprintf("%s: %s", network.Addr, cause), nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time", nil
	}
	return lastLine(err), nil
}

// certificateHint is what to do about a certificate that does not check.
func certificateHint(err error) string {
	const nothingSent = "no password was sent; "
	var invalid x509.CertificateInvalidError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return nothingSent + "run: pulumi up, which renews it; one of your own (tlsSecret) is renewed where it came from"
	case errors.As(err, &authority):
		return nothingSent + "either something else answered in the server's place, or its authority changed since the last pulumi up: run it again"
	case errors.As(err, &name):
		return nothingSent + "either something else answered in the server's place, or its certificate was changed since the last pulumi up: run it again"
	}
	return nothingSent + "the server is up"
}

// lastLine is the innermost thing that an attempt to connect met.
func lastLine(err error) string {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		err = connect.Unwrap()
	}
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// Config describes how to connect with explicit settings. Further settings, such as the TLS
// mode where encryption is nil, are taken from the PG* environment variables as every client
// does.
func Config(addresses []string, database, user, password string, encryption *TLS) (*pgx.ConnConfig, error) {
	var hosts, ports []string
	for _, address := range addresses {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("address %q: %w", address, err)
		}
		hosts, ports = append(hosts, host), append(ports, port)
	}
	settings := fmt.Sprintf("host=%s port=%s dbname=%s user=%s password=%s",
		quote(strings.Join(hosts, ",")), quote(strings.Join(ports, ",")), quote(database), quote(user), quote(password))
	if encryption != nil {
		// What the environment says about TLS has no say here, and each address is tried once,
		// not in several ways.
		settings += " sslmode=disable sslrootcert='' sslnegotiation=postgres"
	}
	config, err := pgx.ParseConfig(settings)
	if err != nil {
		return nil, err
	}
	if encryption != nil {
		if err := encryption.apply(config); err != nil {
			return nil, err
		}
	}
	return prepare(config), nil
}

// ConfigFromDSN describes how to connect with a connection string and the PG* variables.
func ConfigFromDSN(dsn string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	return prepare(config), nil
}

func prepare(config *pgx.ConnConfig) *pgx.ConnConfig {
	// One round trip a query: nothing is run often enough to be worth preparing.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	config.RuntimeParams["application_name"] = "verify"
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = attemptDeadline
	}
	return config
}

func quote(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// Met says in one line what an attempt to connect met.
func Met(err error) string {
	met, refusal := judge(err)
	if refusal != nil {
		return refusal.Problem
	}
	return met
}
