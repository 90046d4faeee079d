package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// TLS is how a server's certificate is checked: in full, whatever address is connected to, and
// never without.
type TLS struct {
	// Authority holds the certificates (PEM) of those that may have signed the server's; without
	// any they are those that this machine trusts.
	Authority string
	// ServerName is the DNS name or IP address that the certificate has to be for.
	ServerName string
}

// config is how pgx checks as TLS says.
func (t *TLS) config() (*tls.Config, error) {
	config := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.Authority == "" {
		return config, nil
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM([]byte(t.Authority)) {
		return nil, errors.New("what should be the certificate of the server's authority is none")
	}
	return config, nil
}

// apply makes every address of a config be connected to in this way.
func (t *TLS) apply(config *pgx.ConnConfig) error {
	checked, err := t.config()
	if err != nil {
		return err
	}
	config.TLSConfig = checked
	for _, fallback := range config.Fallbacks {
		fallback.TLSConfig = checked
	}
	return nil
}

// Encryption is how a connection is protected.
type Encryption struct {
	// Version is the protocol's, like "TLS 1.3".
	Version string
	// ServerName is what the certificate was checked for, with its signature and its dates; empty
	// when it was not.
	ServerName string
	// Expires is when the certificate does.
	Expires time.Time
}

// EncryptionOf says how a connection is protected; nil is not at all.
func EncryptionOf(conn *pgx.Conn) *Encryption {
	encrypted, ok := conn.PgConn().Conn().(*tls.Conn)
	if !ok {
		return nil
	}
	state := encrypted.ConnectionState()
	found := &Encryption{Version: tls.VersionName(state.Version), Expires: state.PeerCertificates[0].NotAfter}
	if len(state.VerifiedChains) > 0 {
		// The state has only what the server was told, which an IP address is not.
		if found.ServerName = state.ServerName; found.ServerName == "" {
			found.ServerName = conn.Config().TLSConfig.ServerName
		}
	}
	return found
}

// Plain is what a server says to a client that comes without encryption.
type Plain int

const (
	// PlainUnclear: it said nothing that tells.
	PlainUnclear Plain = iota
	// PlainRefused: it turned the client away before any password was asked for.
	PlainRefused
	// PlainAccepted: it went on to ask for the password, or let the client in.
	PlainAccepted
)

// codeRefused is what pg_hba.conf refuses with.
const codeRefused = "28000"

// ProbePlain opens a connection without encryption, as a client that knows none does, and says
// how far it gets, in words too. No password is sent.
func ProbePlain(ctx context.Context, address, user, database string, timeout time.Duration) (Plain, string) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return PlainUnclear, err.Error()
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	frontend := pgproto3.NewFrontend(conn, conn)
	frontend.Send(&pgproto3.StartupMessage{
		ProtocolVersion: pgproto3.ProtocolVersion30,
		Parameters:      map[string]string{"user": user, "database": database, "application_name": "verify"},
	})
	if err := frontend.Flush(); err != nil {
		return PlainUnclear, err.Error()
	}
	message, err := frontend.Receive()
	if err != nil {
		return PlainUnclear, err.Error()
	}
	switch message := message.(type) {
	case *pgproto3.ErrorResponse:
		said := fmt.Sprintf("%s (SQLSTATE %s)", message.Message, message.Code)
		if message.Code == codeRefused {
			return PlainRefused, said
		}
		return PlainUnclear, said
	case *pgproto3.AuthenticationOk:
		return PlainAccepted, "let in without a password"
	default:
		return PlainAccepted, "asked for the password"
	}
}
