package components

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	// tlsSecretName is the Secret of the certificate that the component makes.
	tlsSecretName = "postgres-tls"

	tlsPath = "/run/secrets/postgres-tls"

	// minProtocol is the oldest version of TLS that a client may use, unless the
	// parameters say something else.
	minProtocol = "TLSv1.2"
)

func (a PostgresArgs) checkTLSSecret() *InvalidSetting {
	switch {
	case a.TLSSecret == "":
		return nil
	case len(validation.IsDNS1123Subdomain(a.TLSSecret)) > 0:
		return invalid("tlsSecret", a.TLSSecret, "the name of a Secret in the namespace", unset("tlsSecret"))
	case a.TLSSecret == tlsSecretName || a.TLSSecret == secretName:
		return invalid("tlsSecret", a.TLSSecret, "another Secret than the component's own", unset("tlsSecret"))
	case !a.TLS:
		return invalid("tlsSecret", a.TLSSecret, "no Secret without tls", set("tls", "true")+", or "+unset("tlsSecret"))
	}
	return nil
}

func (a PostgresArgs) checkTLSNames() *InvalidSetting {
	fix := unset("tlsNames")
	for i, name := range a.TLSNames {
		switch {
		case net.ParseIP(name) == nil && len(validation.IsDNS1123Subdomain(name)) > 0 && len(validation.IsWildcardDNS1123Subdomain(name)) > 0:
			return invalid("tlsNames", name, "DNS names in lower case and IP addresses, like db.example.com or 192.0.2.7", fix)
		case slices.Contains(a.TLSNames[:i], name):
			return invalid("tlsNames", name, "each name once", fix)
		}
	}
	value := strings.Join(a.TLSNames, ",")
	switch {
	case len(a.TLSNames) == 0:
		return nil
	case !a.TLS:
		return invalid("tlsNames", value, "no names without tls", set("tls", "true")+", or "+fix)
	case a.TLSSecret != "":
		return invalid("tlsNames", value, "no names with tlsSecret, whose certificate has its own", fix+", or "+unset("tlsSecret"))
	}
	return nil
}

func (a PostgresArgs) checkRequireTLS() *InvalidSetting {
	if a.RequireTLS && !a.TLS {
		return invalid("requireTls", strconv.FormatBool(a.RequireTLS), "false without tls, or no client could connect",
			set("tls", "true")+", or "+set("requireTls", "false"))
	}
	return nil
}

// checkLiveTLSSecret refuses a Secret with which the server would not start, or
// whose certificate no client would accept.
func (a PostgresArgs) checkLiveTLSSecret(live existing, now time.Time) *InvalidSetting {
	switch {
	case !a.TLS || live.unseen:
		return nil
	case a.TLSSecret == "":
		return a.checkOwnTLSSecret(live)
	case live.tls == nil:
		return invalid("tlsSecret", a.TLSSecret, "a Secret that exists in namespace "+a.Namespace,
			fmt.Sprintf("make it with: kubectl create secret tls %s -n %s --cert=FILE --key=FILE, or %s", a.TLSSecret, a.Namespace, unset("tlsSecret")))
	}
	if _, err := readForeign(live.tls.Data, a.tlsServerName(), now); err != nil {
		return invalid("tlsSecret", a.TLSSecret, fmt.Sprintf("a Secret with a certificate (%s) and its key (%s) that clients accept; this one does not do: %s",
			tlsCertificate, tlsPrivateKey, err), "replace its content, or "+unset("tlsSecret"))
	}
	return nil
}

// checkOwnTLSSecret refuses to write over a Secret that somebody else made.
func (a PostgresArgs) checkOwnTLSSecret(live existing) *InvalidSetting {
	if live.tls == nil || live.tls.Annotations[annotationFieldManager] != "" {
		return nil
	}
	return invalid("tls", "true", fmt.Sprintf("no Secret %s in namespace %s that is not the component's", tlsSecretName, a.Namespace),
		"give it another name and set tlsSecret to that, or delete it")
}

// liveTLSSecret is the Secret to look for in the cluster, "" for none.
func (a PostgresArgs) liveTLSSecret() string {
	switch {
	case !a.TLS:
		return ""
	case a.TLSSecret != "":
		return a.TLSSecret
	}
	return tlsSecretName
}

// tlsServerName is the name by which clients inside the cluster know the server.
func (a PostgresArgs) tlsServerName() string {
	return fmt.Sprintf("%s.%s.svc", serviceName, a.Namespace)
}

// certificateNames are what a client may call the server by, wherever it is.
func (a PostgresArgs) certificateNames() []string {
	names := []string{"localhost"}
	for _, service := range []string{serviceName, headlessServiceName} {
		names = append(names, service)
		for _, domain := range []string{a.Namespace, a.Namespace + ".svc", a.Namespace + ".svc.cluster.local"} {
			names = append(names, service+"."+domain)
			if service == headlessServiceName {
				// The pods' own names.
				names = append(names, "*."+service+"."+domain)
			}
		}
	}
	return append(names, a.TLSNames...)
}

// newTLSSecret declares the Secret with the certificate that the component makes,
// or reads the one that the settings name.
//
// It is kept like the password: clients that trust the authority go on doing so
// after a destroy and a new start. Every update looks at what the cluster holds,
// and declares the same as long as it is good.
func (p *Postgres) newTLSSecret(ctx *pulumi.Context, name string, opts ...pulumi.ResourceOption) error {
	var kept map[string][]byte
	if p.existing.tls != nil {
		kept = p.existing.tls.Data
	}
	switch {
	case !p.args.TLS:
		return nil
	case p.args.TLSSecret != "":
		if kept == nil {
			return nil
		}
		var err error
		if p.foreign, err = readForeign(kept, p.args.tlsServerName(), p.now); err != nil {
			return fmt.Errorf("secret %s: %w", p.args.TLSSecret, err)
		}
		return nil
	}
	content, err := renewed(kept, p.args.certificateNames(), p.now)
	if err != nil {
		return fmt.Errorf("secret %s: %w", tlsSecretName, err)
	}
	data := pulumi.StringMap{}
	for key, value := range content {
		data[key] = pulumi.String(base64.StdEncoding.EncodeToString(value))
	}
	opts = append(opts, pulumi.RetainOnDelete(!p.args.DeleteData))
	if p.existing.rendering {
		if err := ctx.Log.Warn("the certificate in these manifests is made once and not renewed; "+
			"it ends after a year. tlsSecret leaves it to whoever makes that Secret", nil); err != nil {
			return err
		}
	}
	if p.existing.unseen {
		// What this run made is for a first update; nothing says that the
		// certificate of an earlier one has to go.
		opts = append(opts, pulumi.IgnoreChanges([]string{"data"}))
	}
	secret, err := corev1.NewSecret(ctx, name+"-tls", &corev1.SecretArgs{
		Metadata: p.objectMeta(ctx, tlsSecretName, nil),
		Type:     pulumi.String("kubernetes.io/tls"),
		Data:     pulumi.ToSecret(data).(pulumi.StringMapOutput),
	}, opts...)
	if err != nil {
		return fmt.Errorf("secret %s: %w", tlsSecretName, err)
	}
	p.tlsSecret = secret
	return nil
}

// caCertificate is what clients have to trust, "" when that is up to them.
func (p *Postgres) caCertificate() pulumi.StringOutput {
	if p.tlsSecret == nil {
		return pulumi.String(p.foreign.authority).ToStringOutput()
	}
	authority := p.tlsSecret.Data.ApplyT(func(data map[string]string) (string, error) {
		return decodeSecret(data, tlsAuthority)
	}).(pulumi.StringOutput)
	// It is what every client is given.
	return pulumi.Unsecret(authority).(pulumi.StringOutput)
}

// serverName is the name that the server's certificate is to be checked for, ""
// without one.
func (p *Postgres) serverName() string {
	switch {
	case !p.args.TLS:
		return ""
	case p.foreign.name != "":
		return p.foreign.name
	}
	return p.args.tlsServerName()
}

// authorityDigest changes when clients have to trust another authority. Only
// then the pod is replaced, so that the server shows what the outputs say once
// the update is done; a renewed certificate is left to the running server.
func (p *Postgres) authorityDigest() pulumi.StringOutput {
	return p.caCertificate().ApplyT(func(authority string) string {
		sum := sha256.Sum256([]byte(authority))
		return hex.EncodeToString(sum[:])
	}).(pulumi.StringOutput)
}

// tlsVolume holds the certificate and its key, and nothing else of the Secret.
func (a PostgresArgs) tlsVolume() corev1.VolumeArgs {
	return corev1.VolumeArgs{
		Name: pulumi.String("tls"),
		Secret: corev1.SecretVolumeSourceArgs{
			SecretName: pulumi.String(a.liveTLSSecret()),
			Items: corev1.KeyToPathArray{
				fileOf(tlsCertificate, tlsCertificate), fileOf(tlsPrivateKey, tlsPrivateKey),
			},
			// PostgreSQL takes a key that belongs to root and that its own group
			// can read, and no other that more than its owner can.
			DefaultMode: pulumi.Int(0o440),
		},
	}
}

var (
	certificateFile = path.Join(tlsPath, tlsCertificate)
	privateKeyFile  = path.Join(tlsPath, tlsPrivateKey)
)
